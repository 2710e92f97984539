/* The header that every file of the core includes. */
#ifndef KMS_CORE_H
#define KMS_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "core.cdef.h"

#endif
