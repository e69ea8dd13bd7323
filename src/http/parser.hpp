#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/http/limits.hpp>
#include <bloom/http/request.hpp>
#include <bloom/http/response.hpp>

namespace bloom::http {

/// Why a request was refused: the status to answer with before the connection closes, a machine
/// code and a sentence. All text is static.
struct Rejection {
    Status status = Status::bad_request;
    std::string_view code;
    std::string_view message;
};

enum class Progress : std::uint8_t {
    need_more, ///< all input was consumed
    complete,  ///< input behind `consumed` belongs to what follows
    rejected,  ///< see rejection(); nothing more may be parsed on this connection
};

struct FeedResult {
    Progress progress = Progress::need_more;
    std::size_t consumed = 0;
};

/// Reads one request head after another. The method token is read here, everything behind it by
/// llhttp without lenient flags; when the head is complete, the spans that llhttp reported must
/// tile its bytes exactly (one blank, one colon, CRLF, no folds), so that no leniency of any
/// version of llhttp can matter. Then our own rules on framing, Host, target and charset.
///
/// Verdicts depend on the bytes only, never on how they are cut into feeds.
/// Lifetime: a head that came whole in one feed() is a view of that input; one that straddles is
///           copied once into the parser. Either way head() dies with the next reset() or that
///           input.
/// Thread:   the connection's shard.
class HeadParser {
public:
    explicit HeadParser(const Limits& limits) noexcept : limits_(&limits) { reset(); }

    HeadParser(const HeadParser&) = delete;
    HeadParser& operator=(const HeadParser&) = delete;

    FeedResult feed(ByteSpan input);
    /// Ready for the next head. Keeps small buffers.
    void reset() noexcept;

    const RequestHead& head() const noexcept { return head_; }

    const Rejection& rejection() const noexcept { return rejection_; }

    /// Refuses a head that is still being read, for a reason outside of its bytes (time).
    void give_up(Status status, std::string_view code, std::string_view message) noexcept {
        fail(status, code, message);
    }

    /// Copies a complete head that is still a view of its input, so that the input may go; views
    /// taken from head() before are void.
    void own();

    /// Whether the first byte of a head has been seen (empty lines before it do not count).
    bool started() const noexcept { return n_bytes_ > 0; }

private:
    enum class Phase : std::uint8_t { leading, method, target, fields, done, failed };

    struct Callbacks;
    struct Seen;

    // Each reads from `at` on, advances it, and moves phase_ on when its part has ended.
    void skip_empty_lines(std::string_view input, std::size_t& at) noexcept;
    void take_method(std::string_view input, std::size_t& at) noexcept;
    void take_rest(std::string_view input, std::size_t& at);
    void reject_llhttp(int err) noexcept;
    void finish_head(std::string_view bytes) noexcept;
    bool check_tiling(std::string_view bytes) noexcept;
    bool check_line(std::string_view bytes) noexcept;
    bool check_target() noexcept;
    bool check_field(const Header& field, Seen& seen) noexcept;
    bool check_length(std::string_view value) noexcept;
    bool check_framing(const Seen& seen) noexcept;
    /// Notes the first reason to refuse; always false.
    bool fail(Status status, std::string_view code, std::string_view message) noexcept;
    bool fail_bad(std::string_view message) noexcept;

    const Limits* limits_;
    /// The llhttp_t, whose header stays out of this one; parser.cpp asserts the size.
    alignas(8) std::byte llhttp_[112];
    Phase phase_ = Phase::leading;
    bool after_cr_ = false;
    std::uint8_t n_empty_lines_ = 0;
    std::uint8_t n_method_ = 0;
    std::uint32_t n_bytes_ = 0;     ///< bytes of this head consumed so far
    const char* part_ = nullptr;    ///< what llhttp is reading now
    std::uint32_t part_offset_ = 0; ///< offset of part_ in the head
    char method_[kMethodBytesMax];
    std::uint32_t target_begin_ = 0, target_end_ = 0;
    std::uint32_t version_begin_ = 0, version_end_ = 0;
    Headers::Offsets open_; ///< the field being read
    std::uint32_t open_name_end_ = 0, open_value_end_ = 0;
    bool name_open_ = false, value_open_ = false;
    std::vector<Headers::Offsets> fields_;
    std::string carry_;      ///< a head that straddles
    std::string_view whole_; ///< the complete head, wherever it is
    RequestHead head_;
    Rejection rejection_;
};

/// Whether `text` is a host with an optional port as RFC 3986 3.2.2 has it (no userinfo).
bool is_valid_authority(std::string_view text) noexcept;

} // namespace bloom::http
