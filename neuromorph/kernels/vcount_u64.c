/* Plain 64-bit words: runs everywhere. */
#define VC_BYTES 8
#define VC_KERNEL vc_kernel_u64
#define VC_NAME "u64"
#include "vcount_template.h"
