#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bloom::text {

/// Whether the text is surely in NFC already: all characters below U+0300. Cost: one pass.
bool nfc_trivial(std::string_view text) noexcept;

/// Replaces `out` by the text in Unicode normalisation form C (UAX 15). Ill-formed bytes pass
/// unchanged and block composition.
/// Returns: steps taken; O(n) for any input, also for long runs of combining marks, which must be
///          put in order. Thread: any.
std::uint64_t normalize_nfc(std::string_view text, std::string& out);

} // namespace bloom::text
