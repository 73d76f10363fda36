/* 16-byte vectors: SSE2, NEON, or whatever the compiler makes of them. */
#define VC_BYTES 16
#define VC_KERNEL vc_kernel_v128
#define VC_NAME "v128"
#include "vcount_template.h"
