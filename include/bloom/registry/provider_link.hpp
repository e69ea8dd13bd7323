#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/gen/event.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

/// The seam between what serves requests and what answers them: one interface, whether the model
/// runs in this process or on another machine (design section 2, steps 6 and 7).
namespace bloom::registry {

/// How far a provider's identity is proven (design decision 15).
enum class TrustLevel : std::uint8_t { none, self_signed, hardware };

std::string_view to_string(TrustLevel level) noexcept;

/// Facts about the machine behind a link, as response headers and listings show them.
struct ProviderIdentity {
    std::string id;     ///< the node id, derived from its identity key
    std::string serial; ///< stable; the value a request can pin
    std::string chip;   ///< CPU or GPU name
    std::string machine_model;
    TrustLevel trust = TrustLevel::none;
    bool attested = false;  ///< passed the latest challenge
    std::string public_key; ///< base64 SubjectPublicKeyInfo of the identity key; empty: none
};

struct ModelInfo {
    std::string id;
    std::string catalog_id; ///< of the catalog entry that it is; empty: none
    std::string display_name;
    std::string architecture;
    std::string quantization;
    std::int64_t created = 0; ///< Unix seconds
    std::int64_t size_bytes = 0;
    std::int32_t context_length = 0;
    std::int32_t max_output_length = 0; ///< 0: bounded by the context alone
    bool thinking = false;              ///< its template has a thinking switch
};

using ModelList = std::vector<ModelInfo>;

/// What a provider could do when it last looked. Later ones have a larger `seq`.
struct Capacity {
    std::uint64_t seq = 0;
    std::int32_t n_slots = 0; ///< sequences that can run at once
    std::int32_t n_running = 0;
    std::int32_t n_queued = 0;
    bool draining = false;
    std::shared_ptr<const ModelList> models; ///< never null

    // Since the start.
    std::int64_t n_drafted = 0;       ///< tokens guessed by speculation
    std::int64_t n_accepted = 0;      ///< of them, those that came true
    std::int64_t n_head_drafted = 0;  ///< of those guessed, by a model's own head
    std::int64_t n_head_accepted = 0; ///< of these, those that came true
    std::int64_t n_preempted = 0;     ///< sequences that had to make way for others
    std::int64_t n_swapped = 0;       ///< of them, those that need not be recomputed
};

/// The events of one request. Must be ended before it goes: by its last event or by cancel().
/// Thread: the shard that submitted.
class EventStream {
public:
    virtual ~EventStream() = default;

    /// The next batch, never empty; nothing once the last event was delivered.
    /// Errors: the token's; the request then still runs.
    virtual rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) = 0;

    /// Byte credits: lets the provider send this much more text. A stream without credit pauses and
    /// costs no computation. Each starts with kInitialCredit.
    virtual void grant(std::size_t bytes) = 0;

    /// Asks the provider to stop and waits for its word: the final counts. Fine after the end, too.
    virtual rt::Task<gen::Usage> cancel() = 0;
};

/// Text bytes a provider may be ahead of the reader; a few network buffers' worth.
inline constexpr std::size_t kInitialCredit = std::size_t{256} * 1024;

/// One provider. Thread: submit, load, unload and drain from any shard; the rest from any thread.
class ProviderLink {
public:
    virtual ~ProviderLink() = default;

    virtual const ProviderIdentity& identity() const noexcept = 0;
    virtual Capacity capacity() const = 0;

    /// Starts a request. Whether it was taken says the first event: accepted or refused.
    virtual std::unique_ptr<EventStream> submit(std::shared_ptr<const gen::Generation> request) = 0;

    /// Prompt tokens of a request, all its prompts together, without running it.
    /// Errors: not_found (no such model), those of the model's template and tokenizer.
    virtual rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> request) = 0;

    /// Loads a model by path or id, or gives one back. Errors: not_found, out_of_memory, corrupt.
    virtual rt::Task<Result<>> load(std::string model) = 0;
    virtual rt::Task<Result<>> unload(std::string model) = 0;

    /// Takes nothing new from now on; what runs goes on.
    virtual void drain() = 0;
};

} // namespace bloom::registry
