/* 32-byte vectors for x86-64 processors with AVX2. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,popcnt")
#endif
#define VC_BYTES 32
#define VC_KERNEL vc_kernel_avx2
#define VC_NAME "avx2"
#include "vcount_template.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
