#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "compute/cpu/regions.hpp"

/// Row operations before a product that need no phase of their own: whoever prepares a row of the
/// product's input makes its rows too.
namespace bloom::compute::cpu {

/// Operations as a chain: norms, sums, factors and gates. Nothing where another kind is among them
/// or where they write too many tensors. Nothing is published yet.
std::optional<RowChain> chain_of(std::span<const RowOp> ops, const Plan& plan);

/// Whether the operations read rows of `t` that were there before.
bool reads_shared(const RowChain& chain, TensorId t);

/// Calls `from` by the name `to`, wherever the operation has it.
void rename(OpBody& body, TensorId from, TensorId to);

} // namespace bloom::compute::cpu
