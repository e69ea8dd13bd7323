#pragma once

/// What every table includes before it opens its namespaces.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/layout.hpp"

/// The loop that follows has few iterations over an array that must live in registers.
#define BLOOM_UNROLL _Pragma("GCC unroll 64")
