/* Choice of the kernel by what the processor can do. */
#include <stddef.h>
#include <string.h>

#include "vcount.h"

const vc_kernel *vc_select(const char *name) {
    const vc_kernel *known[5];
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("popcnt")) {
        int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
        if (wide) known[n++] = &vc_kernel_avx512;
        if (wide && __builtin_cpu_supports("avx512vl")) known[n++] = &vc_kernel_avx512vl;
        if (__builtin_cpu_supports("avx2")) known[n++] = &vc_kernel_avx2;
    }
#endif
    known[n++] = &vc_kernel_v128;
    known[n++] = &vc_kernel_u64;
    if (name == NULL || name[0] == '\0') return known[0];
    for (int i = 0; i < n; i++)
        if (strcmp(known[i]->name, name) == 0) return known[i];
    return NULL;
}
