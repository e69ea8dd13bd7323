#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What comes back from a provider: a flat sequence of small events, in batches that one scheduling
/// step of the engine produced. Order: `accepted`, `started`, deltas, one `finished` for each
/// choice, one `usage` with the totals, perhaps `signed_by`, end. `refused` replaces `accepted`;
/// `failed` may come at any time after it; nothing follows either.
namespace bloom::gen {

enum class EventKind : std::uint8_t {
    accepted,        ///< a provider took the request
    refused,         ///< it did not; `refusal` and `feasible_after_ms`; the last event
    started,         ///< prompt is known: `usage.prompt_tokens`, `usage.cached_tokens`
    reasoning_delta, ///< `text` of thinking, `n_tokens`
    text_delta,      ///< `text` of the answer, `n_tokens`
    tool_begin,      ///< `tool_index`, `text` = name
    tool_args,       ///< `tool_index`, `text` = fragment of JSON
    tool_end,        ///< `tool_index`
    usage,           ///< running totals in `usage`
    finished,        ///< this choice is done: `finish`, `text` = the stop string that matched
    failed,          ///< the request is over: `failure`, `text`, `usage`; the last event
    signed_by,       ///< `text` = statement; hash and signature beside it
};

/// Why a provider would not take a request.
enum class Refusal : std::uint8_t { none, busy, draining, unknown_model, too_long, invalid };

enum class Finish : std::uint8_t { none, stop, length, tool_calls, cancelled };

/// Failure classes after acceptance. The class decides status and retry; text never leaves the node
/// raw.
enum class Failure : std::uint8_t {
    none,
    invalid_request,
    context_length,
    provider,
    timeout,
    overloaded,
    cancelled
};

/// Exact token counts. `completion_tokens` are the sampled tokens, reasoning included, the
/// end-of-turn token excluded (consumer API section 4.14).
struct Usage {
    std::int64_t prompt_tokens = 0;
    std::int64_t cached_tokens = 0;
    std::int64_t completion_tokens = 0;
    std::int64_t reasoning_tokens = 0;

    friend bool operator==(const Usage&, const Usage&) = default;
};

struct TokenLogprob {
    std::int32_t token = -1;
    float logprob = 0;
    std::string bytes; ///< raw bytes of the token, possibly part of a code point
    std::vector<TokenLogprob> top;
};

struct Event {
    EventKind kind = EventKind::accepted;
    std::int32_t choice = 0;
    std::int32_t tool_index = 0;
    std::int32_t n_tokens = 0;
    Refusal refusal = Refusal::none;
    Finish finish = Finish::none;
    Failure failure = Failure::none;
    std::int64_t feasible_after_ms = 0;
    Usage usage;
    std::string text; ///< whole code points only
    std::vector<TokenLogprob> logprobs;
    std::string response_hash; ///< signed_by
    std::string signature;     ///< signed_by
};

/// True for the event after which none follows for the whole request.
inline bool is_terminal_failure(const Event& e) noexcept {
    return e.kind == EventKind::refused || e.kind == EventKind::failed;
}

using EventBatch = std::vector<Event>;

} // namespace bloom::gen
