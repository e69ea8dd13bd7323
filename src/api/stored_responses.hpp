#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <bloom/api/error_map.hpp>
#include <bloom/dialect/openai_responses.hpp>

namespace bloom::api {

/// A response that its request wanted to be kept, with the conversation that led to it; or only the
/// items of an answer, where the request did not say. Clients for which storing is the default send
/// `item_reference` in place of what was said, so a second turn would fail without them.
struct StoredResponse {
    std::string id;
    std::string account;
    std::string body; ///< the response object as JSON
    /// The conversation with this answer at its end; instructions are not part of it.
    std::vector<dialect::ResponseItem> items;
    std::size_t n_earlier = 0; ///< how many of them came before this request
    std::size_t n_output = 0;  ///< how many of them, at the end, are the answer
    bool items_only = false;   ///< there is no body, and it answers to no request for it
    std::uint64_t expires_ns = 0;

    /// What this request itself brought along.
    std::span<const dialect::ResponseItem> input() const {
        return std::span(items).subspan(n_earlier, items.size() - n_earlier - n_output);
    }

    std::span<const dialect::ResponseItem> output() const {
        return std::span(items).last(n_output);
    }

    /// Memory it takes, roughly.
    std::size_t bytes() const noexcept;
};

/// Bounds of what is kept (design decision 18). Beyond them the oldest goes, of the same account
/// first.
struct StoreLimits {
    std::size_t bytes = std::size_t{256} << 20;
    std::size_t account_bytes = std::size_t{64} << 20;
    /// One conversation: every response of it holds all that was said before.
    std::size_t response_bytes = std::size_t{32} << 20;
    std::size_t n_responses = 16'384;
    std::size_t n_account_responses = 2048;
    std::uint64_t lifetime_ns = std::uint64_t{3600} * 1'000'000'000;
};

/// The stored responses of a node: in memory only, for an hour, each visible to its account alone.
/// Thread: any. All shards share one, since a client's next request may come in on another; the
/// lock is taken only by requests that store or name a response, and held for look-ups, not for
/// the values, which are immutable. Times are the shards' clock.
class StoredResponses {
public:
    explicit StoredResponses(StoreLimits limits = {}) : limits_(limits) {}

    const StoreLimits& limits() const noexcept { return limits_; }

    /// nullptr: there is none, it was another account's, or its time is over.
    std::shared_ptr<const StoredResponse> find(std::string_view account, std::string_view id,
                                               std::uint64_t now_ns);

    /// The same where it is about items: also of what is not stored otherwise.
    std::shared_ptr<const StoredResponse> find_items(std::string_view account, std::string_view id,
                                                     std::uint64_t now_ns);

    /// Keeps it for its lifetime. What alone is too large is not kept.
    void put(StoredResponse response, std::uint64_t now_ns);

    /// False: there was nothing of that name to forget.
    bool erase(std::string_view account, std::string_view id, std::uint64_t now_ns);

    /// Forgets what is too old. Cost: one load where nothing is.
    void expire(std::uint64_t now_ns);

    std::size_t size() const;
    std::size_t bytes() const;

private:
    using Ptr = std::shared_ptr<const StoredResponse>;

    struct Account {
        std::map<std::uint64_t, std::size_t> by_age; ///< sequence number to bytes
        std::size_t bytes = 0;
    };

    // With the lock held. What goes is handed out, so that it is freed without it.
    void remove(std::uint64_t sequence, std::vector<Ptr>& gone);
    void remove_old(std::uint64_t now_ns, std::vector<Ptr>& gone);
    std::uint64_t sequence_of(std::string_view account, std::string_view id) const;

    const StoreLimits limits_;
    std::atomic<std::uint64_t> next_expiry_ns_{UINT64_MAX};
    mutable std::mutex mutex_;
    // Under the lock. All live equally long, so sequence numbers order them by age and by end.
    std::map<std::uint64_t, Ptr> by_age_;
    std::unordered_map<std::string, std::uint64_t> by_id_;
    std::unordered_map<std::string, Account> accounts_;
    std::uint64_t next_sequence_ = 1;
    std::size_t bytes_ = 0;
};

/// Makes the messages of a Responses request that goes on from stored ones or refers to their items
/// (dialect::needs_stored), and checks that what it wants to be stored can be. Gives the response
/// it goes on from, nullptr where there is none. Errors: 400 naming the member.
std::expected<std::shared_ptr<const StoredResponse>, ApiError>
join_stored(StoredResponses& stored, std::string_view account, dialect::Request& request,
            std::uint64_t now_ns);

/// Keeps the answer to a request that asked for it, or its items; those of the request are used up.
void keep_response(StoredResponses& stored, std::string_view account, dialect::Request& request,
                   const StoredResponse* previous, const dialect::ResponseRecord& record,
                   std::uint64_t now_ns);

} // namespace bloom::api
