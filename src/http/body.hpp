#pragma once

#include <cstdint>

#include <bloom/base/bytes.hpp>
#include <bloom/http/limits.hpp>
#include <bloom/http/request.hpp>

#include "parser.hpp"

namespace bloom::http {

/// Takes the framing off one message body, RFC 9112 6 and 7. Chunk sizes, extensions and trailers
/// are checked against the grammar here; extensions and trailers are dropped.
///
///     while (!in.empty()) {
///         const BodyStep step = decoder.next(in);
///         use(step.data); in = in.subspan(step.consumed);
///         if (step.progress != Progress::need_more) break;
///     }
///
/// Verdicts depend on the bytes only, never on how they are cut.  Thread: one.
class BodyDecoder {
public:
    struct Step {
        Progress progress = Progress::need_more;
        std::size_t consumed = 0;
        ByteSpan data; ///< decoded bytes, a part of the input
    };

    /// `bytes_max` bounds the decoded size.
    void start(BodyKind kind, std::uint64_t length, std::uint64_t bytes_max,
               const Limits& limits) noexcept;

    /// Consumes up to the end of one run of data, of the body or of the input.
    Step next(ByteSpan input) noexcept;

    bool complete() const noexcept { return state_ == State::complete; }

    bool failed() const noexcept { return state_ == State::failed; }

    const Rejection& rejection() const noexcept { return rejection_; }

    /// Decoded bytes so far.
    std::uint64_t n_bytes() const noexcept { return n_bytes_; }

    /// Sets the bound anew; what was decoded already counts, and a declared length is checked at
    /// once.
    void set_bytes_max(std::uint64_t bytes_max) noexcept;

private:
    enum class State : std::uint8_t {
        length,
        size,
        size_lf,
        ext_name_begin,
        ext_name,
        ext_name_end,
        ext_value_begin,
        ext_value,
        ext_quoted,
        ext_escape,
        ext_value_end,
        data,
        data_cr,
        data_lf,
        trailer_begin,
        trailer_name,
        trailer_value,
        trailer_lf,
        last_lf,
        complete,
        failed,
    };

    void take_frame_byte(char c) noexcept;
    void take_extension_byte(char c) noexcept;
    void take_trailer_byte(char c) noexcept;
    void size_done() noexcept;
    void fail_bad(std::string_view message) noexcept;
    void fail_large() noexcept;

    State state_ = State::complete;
    std::uint8_t n_digits_ = 0;
    std::uint32_t n_extension_bytes_ = 0;
    std::uint32_t n_trailer_bytes_ = 0;
    std::uint32_t n_trailers_ = 0;
    std::uint64_t left_ = 0; ///< of the chunk or body
    std::uint64_t n_bytes_ = 0;
    std::uint64_t bytes_max_ = 0;
    const Limits* limits_ = nullptr;
    Rejection rejection_;
};

} // namespace bloom::http
