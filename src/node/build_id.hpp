#pragma once

#include <string>

namespace bloom::node {

/// SHA-256 hex over the load segments of a 64-bit ELF file, in the order of its table: what of a
/// program runs, debug information left out. Empty if the file cannot be read as one.
std::string build_id_of(const std::string& path);

} // namespace bloom::node
