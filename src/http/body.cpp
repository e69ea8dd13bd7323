#include "body.hpp"

#include <algorithm>

#include "chars.hpp"

namespace bloom::http {
namespace {

bool is_blank(char c) noexcept {
    return c == ' ' || c == '\t';
}

} // namespace

void BodyDecoder::start(BodyKind kind, std::uint64_t length, std::uint64_t bytes_max,
                        const Limits& limits) noexcept {
    *this = BodyDecoder{};
    limits_ = &limits;
    bytes_max_ = bytes_max;
    switch (kind) {
    case BodyKind::none:
        state_ = State::complete;
        break;
    case BodyKind::length:
        left_ = length;
        state_ = length > 0 ? State::length : State::complete;
        if (length > bytes_max) fail_large();
        break;
    case BodyKind::chunked:
        state_ = State::size;
        break;
    }
}

BodyDecoder::Step BodyDecoder::next(ByteSpan input) noexcept {
    Step step;
    while (step.consumed < input.size() && state_ != State::complete && state_ != State::failed) {
        if (state_ == State::length || state_ == State::data) {
            const ByteSpan rest = input.subspan(step.consumed);
            step.data =
                rest.first(static_cast<std::size_t>(std::min<std::uint64_t>(left_, rest.size())));
            step.consumed += step.data.size();
            left_ -= step.data.size();
            n_bytes_ += step.data.size();
            if (n_bytes_ > bytes_max_) {
                fail_large();
            } else if (left_ == 0) {
                state_ = state_ == State::length ? State::complete : State::data_cr;
            }
            break;
        }
        take_frame_byte(static_cast<char>(input[step.consumed++]));
    }
    if (state_ == State::complete) step.progress = Progress::complete;
    if (state_ == State::failed) step.progress = Progress::rejected;
    return step;
}

void BodyDecoder::take_frame_byte(char c) noexcept {
    switch (state_) {
    case State::size:
        if (const int digit = hex_digit(c); digit >= 0) {
            if (++n_digits_ > kChunkSizeDigitsMax) return fail_bad("a chunk size is too long");
            left_ = left_ << 4 | static_cast<std::uint64_t>(digit);
        } else if (n_digits_ == 0) {
            fail_bad("a chunk has no size");
        } else if (c == '\r') {
            state_ = State::size_lf;
        } else if (c == ';') {
            take_extension_byte(c);
        } else {
            fail_bad("a chunk size is malformed");
        }
        return;
    case State::size_lf:
        return c == '\n' ? size_done() : fail_bad("a chunk size line is malformed");
    case State::data_cr:
        if (c != '\r') return fail_bad("a chunk is longer than its size");
        state_ = State::data_lf;
        return;
    case State::data_lf:
        if (c != '\n') return fail_bad("a chunk is longer than its size");
        state_ = State::size;
        n_digits_ = 0;
        left_ = 0;
        return;
    case State::trailer_begin:
    case State::trailer_name:
    case State::trailer_value:
    case State::trailer_lf:
    case State::last_lf:
        return take_trailer_byte(c);
    default:
        return take_extension_byte(c);
    }
}

void BodyDecoder::take_extension_byte(char c) noexcept {
    if (c == '\r' && (state_ == State::ext_name || state_ == State::ext_value ||
                      state_ == State::ext_value_end)) {
        state_ = State::size_lf;
        return;
    }
    if (++n_extension_bytes_ > limits_->chunk_extension_bytes) {
        return fail_bad("chunk extensions are too long");
    }
    // chunk-ext = *( ";" name [ "=" ( token / quoted-string ) ] ), blanks only inside (RFC
    // 9112 7.1.1)
    if (c == ';' && state_ != State::ext_quoted && state_ != State::ext_escape &&
        state_ != State::ext_name_begin && state_ != State::ext_value_begin) {
        state_ = State::ext_name_begin;
        return;
    }
    switch (state_) {
    case State::ext_name_begin:
        if (is_blank(c)) return;
        if (is_class(c, kToken)) {
            state_ = State::ext_name;
            return;
        }
        break;
    case State::ext_name:
    case State::ext_name_end:
        if (c == '=') {
            state_ = State::ext_value_begin;
            return;
        }
        if (is_blank(c)) {
            state_ = State::ext_name_end;
            return;
        }
        if (state_ == State::ext_name && is_class(c, kToken)) return;
        break;
    case State::ext_value_begin:
        if (is_blank(c)) return;
        if (c == '"' || is_class(c, kToken)) {
            state_ = c == '"' ? State::ext_quoted : State::ext_value;
            return;
        }
        break;
    case State::ext_value:
        if (is_class(c, kToken)) return;
        if (is_blank(c)) {
            state_ = State::ext_value_end;
            return;
        }
        break;
    case State::ext_quoted:
        if (c == '"') state_ = State::ext_value_end;
        if (c == '\\') state_ = State::ext_escape;
        if (is_class(c, kFieldValue)) return;
        break;
    case State::ext_escape:
        state_ = State::ext_quoted;
        if (is_class(c, kFieldValue)) return;
        break;
    case State::ext_value_end:
        if (is_blank(c)) return;
        break;
    default:
        break;
    }
    fail_bad("a chunk extension is malformed");
}

void BodyDecoder::take_trailer_byte(char c) noexcept {
    if (++n_trailer_bytes_ > limits_->trailer_bytes) return fail_bad("the trailers are too long");
    switch (state_) {
    case State::trailer_begin:
        if (c == '\r') {
            state_ = State::last_lf;
            return;
        }
        if (++n_trailers_ > limits_->n_trailers) return fail_bad("there are too many trailers");
        if (!is_class(c, kToken)) break;
        state_ = State::trailer_name;
        return;
    case State::trailer_name:
        if (c == ':') {
            state_ = State::trailer_value;
        } else if (!is_class(c, kToken)) {
            break;
        }
        return;
    case State::trailer_value:
        if (c == '\r') {
            state_ = State::trailer_lf;
        } else if (!is_class(c, kFieldValue)) {
            break;
        }
        return;
    case State::trailer_lf:
        if (c != '\n') break;
        state_ = State::trailer_begin;
        return;
    default: // last_lf
        if (c != '\n') break;
        state_ = State::complete;
        return;
    }
    fail_bad("a trailer is malformed");
}

void BodyDecoder::set_bytes_max(std::uint64_t bytes_max) noexcept {
    bytes_max_ = bytes_max;
    if (complete() || failed()) return;
    const bool open_run = state_ == State::length || state_ == State::data;
    if (n_bytes_ > bytes_max || (open_run && left_ > bytes_max - n_bytes_)) fail_large();
}

void BodyDecoder::size_done() noexcept {
    if (left_ == 0) {
        state_ = State::trailer_begin;
    } else if (left_ > bytes_max_ - n_bytes_) {
        fail_large();
    } else {
        state_ = State::data;
    }
}

void BodyDecoder::fail_bad(std::string_view message) noexcept {
    state_ = State::failed;
    rejection_ = {Status::bad_request, "bad_request", message};
}

void BodyDecoder::fail_large() noexcept {
    state_ = State::failed;
    rejection_ = {Status::payload_too_large, "payload_too_large",
                  "the request body is larger than this endpoint takes"};
}

} // namespace bloom::http
