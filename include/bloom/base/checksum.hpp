#pragma once

#include <cstdint>

#include <bloom/base/bytes.hpp>

namespace bloom {

/// A 64-bit checksum against accidents, not against people: eight independent lanes of
/// exclusive-or, multiply and shift over 64-byte blocks, then the lanes one after the other. Every
/// step is a bijection of what it takes in, so two inputs of one length that differ in one 8-byte
/// word always differ in the result. Stable across builds: it is stored in files.
/// Cost: about one multiplication for 8 bytes.
std::uint64_t checksum64(ByteSpan data, std::uint64_t seed = 0) noexcept;

} // namespace bloom
