/* 64-byte vectors for x86-64 processors with AVX-512F and BW. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,popcnt")
#endif
#define VC_BYTES 64
#define VC_TERNARY_LOGIC
#define VC_KERNEL vc_kernel_avx512
#define VC_NAME "avx512"
#include "vcount_template.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
