/* 32-byte vectors for x86-64 processors with AVX-512VL, added in pairs: a block
 * of 256 samples fills 64-byte registers. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,popcnt")
#endif
#define VC_BYTES 32
#define VC_TERNARY_LOGIC
#define VC_HALVES
#define VC_KERNEL vc_kernel_avx512vl
#define VC_NAME "avx512vl"
#include "vcount_template.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
