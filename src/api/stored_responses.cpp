#include "api/stored_responses.hpp"

#include <fmt/format.h>

#include <bloom/api/services.hpp>
#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>

namespace bloom::api {
namespace {

/// Nodes of maps and the like, for each response.
constexpr std::size_t kOverheadBytes = 512;

std::size_t bytes_of_items(std::span<const dialect::ResponseItem> items) {
    std::size_t n = 0;
    for (const dialect::ResponseItem& item : items)
        n += dialect::bytes_of(item);
    return n;
}

ApiError bad_request(std::string message, std::string_view code, std::string param) {
    return {http::Status::bad_request, "invalid_request_error", code,
            std::move(param),          std::move(message),      0};
}

/// Puts the items in that references mean. Their bytes are bounded: a short request can name a long
/// item very often.
std::expected<void, ApiError> resolve_references(StoredResponses& stored, std::string_view account,
                                                 dialect::Request& request, std::uint64_t now_ns) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < request.items.size(); ++i) {
        dialect::ResponseItem& item = request.items[i];
        if (item.kind != dialect::ResponseItem::Kind::reference) continue;
        std::size_t index = 0;
        const std::string id = dialect::response_of_item(item.id, index);
        const auto response = stored.find_items(account, id, now_ns);
        if (!response || index >= response->n_output || response->output()[index].id != item.id) {
            return std::unexpected(bad_request(
                fmt::format("Item with id {} not found. Items are kept only of responses that were "
                            "not created with 'store' set to false.",
                            bloom::quoted(item.id)),
                "invalid_value", fmt::format("input[{}].id", i)));
        }
        bytes += dialect::bytes_of(response->output()[index]);
        if (bytes > stored.limits().response_bytes) {
            return std::unexpected(bad_request(
                fmt::format("The items that 'input' refers to have more than {} bytes together.",
                            stored.limits().response_bytes),
                "invalid_value", "input"));
        }
        item = response->output()[index];
    }
    return {};
}

} // namespace

std::size_t StoredResponse::bytes() const noexcept {
    return kOverheadBytes + id.size() + account.size() + body.size() + bytes_of_items(items);
}

std::uint64_t StoredResponses::sequence_of(std::string_view account, std::string_view id) const {
    const auto found = by_id_.find(std::string(id));
    if (found == by_id_.end()) return 0;
    return by_age_.at(found->second)->account == account ? found->second : 0;
}

std::shared_ptr<const StoredResponse>
StoredResponses::find(std::string_view account, std::string_view id, std::uint64_t now_ns) {
    auto found = find_items(account, id, now_ns);
    return found && !found->items_only ? found : nullptr;
}

std::shared_ptr<const StoredResponse>
StoredResponses::find_items(std::string_view account, std::string_view id, std::uint64_t now_ns) {
    expire(now_ns);
    const std::lock_guard lock(mutex_);
    const std::uint64_t sequence = sequence_of(account, id);
    return sequence == 0 ? nullptr : by_age_.at(sequence);
}

void StoredResponses::remove(std::uint64_t sequence, std::vector<Ptr>& gone) {
    const auto at = by_age_.find(sequence);
    BLOOM_CHECK(at != by_age_.end());
    const auto owner = accounts_.find(at->second->account);
    BLOOM_CHECK(owner != accounts_.end());
    const auto share = owner->second.by_age.find(sequence);
    BLOOM_CHECK(share != owner->second.by_age.end());
    bytes_ -= share->second;
    owner->second.bytes -= share->second;
    owner->second.by_age.erase(share);
    if (owner->second.by_age.empty()) accounts_.erase(owner);
    by_id_.erase(at->second->id);
    gone.push_back(std::move(at->second));
    by_age_.erase(at);
}

void StoredResponses::remove_old(std::uint64_t now_ns, std::vector<Ptr>& gone) {
    while (!by_age_.empty() && by_age_.begin()->second->expires_ns <= now_ns)
        remove(by_age_.begin()->first, gone);
    next_expiry_ns_.store(by_age_.empty() ? UINT64_MAX : by_age_.begin()->second->expires_ns,
                          std::memory_order_relaxed);
}

void StoredResponses::expire(std::uint64_t now_ns) {
    if (now_ns < next_expiry_ns_.load(std::memory_order_relaxed)) return;
    std::vector<Ptr> gone;
    const std::lock_guard lock(mutex_);
    remove_old(now_ns, gone);
}

void StoredResponses::put(StoredResponse response, std::uint64_t now_ns) {
    response.expires_ns = now_ns + limits_.lifetime_ns;
    const std::size_t bytes = response.bytes();
    if (bytes > limits_.account_bytes || bytes > limits_.bytes) return;
    const auto kept = std::make_shared<const StoredResponse>(std::move(response));
    std::vector<Ptr> gone;
    const std::lock_guard lock(mutex_);
    if (by_id_.contains(kept->id)) return; // ids derive from random job ids
    const std::uint64_t sequence = next_sequence_++;
    by_age_.emplace(sequence, kept);
    by_id_.emplace(kept->id, sequence);
    Account& owner = accounts_[kept->account];
    owner.by_age.emplace(sequence, bytes);
    owner.bytes += bytes;
    bytes_ += bytes;
    while (owner.bytes > limits_.account_bytes || owner.by_age.size() > limits_.n_account_responses)
        remove(owner.by_age.begin()->first, gone); // never the last one, which fits
    while (bytes_ > limits_.bytes || by_age_.size() > limits_.n_responses)
        remove(by_age_.begin()->first, gone);
    remove_old(now_ns, gone);
}

bool StoredResponses::erase(std::string_view account, std::string_view id, std::uint64_t now_ns) {
    expire(now_ns);
    std::vector<Ptr> gone;
    const std::lock_guard lock(mutex_);
    const std::uint64_t sequence = sequence_of(account, id);
    if (sequence == 0 || by_age_.at(sequence)->items_only) return false;
    remove(sequence, gone);
    return true;
}

std::size_t StoredResponses::size() const {
    const std::lock_guard lock(mutex_);
    return by_age_.size();
}

std::size_t StoredResponses::bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
}

std::shared_ptr<StoredResponses> make_stored_responses() {
    return std::make_shared<StoredResponses>();
}

std::expected<std::shared_ptr<const StoredResponse>, ApiError>
join_stored(StoredResponses& stored, std::string_view account, dialect::Request& request,
            std::uint64_t now_ns) {
    stored.expire(now_ns); // whatever the request is, so that nothing stays long beyond its time
    std::shared_ptr<const StoredResponse> previous;
    const std::string& id = request.previous_response_id;
    if (!id.empty()) {
        previous = stored.find(account, id, now_ns);
        if (!previous) {
            return std::unexpected(bad_request(
                fmt::format("Previous response with id {} not found. Responses are kept for an "
                            "hour, and only if they were created with 'store' set to true.",
                            bloom::quoted(id)),
                "previous_response_not_found", "previous_response_id"));
        }
    }
    if (dialect::needs_stored(request)) {
        if (auto put_in = resolve_references(stored, account, request, now_ns); !put_in)
            return std::unexpected(std::move(put_in).error());
        const std::span<const dialect::ResponseItem> earlier =
            previous ? std::span(previous->items) : std::span<const dialect::ResponseItem>();
        if (auto joined = dialect::continue_conversation(request, earlier); !joined)
            return std::unexpected(to_api_error(joined.error()));
    }
    const std::size_t bytes = bytes_of_items(request.items) +
                              (previous ? bytes_of_items(previous->items) : 0) +
                              request.generation.render.echoed.size();
    if (request.store && bytes > stored.limits().response_bytes) {
        return std::unexpected(bad_request(
            fmt::format("The conversation is too long to be stored: at most {} bytes are. Please "
                        "send it without 'store'.",
                        stored.limits().response_bytes),
            "invalid_value", "store"));
    }
    return previous;
}

void keep_response(StoredResponses& stored, std::string_view account, dialect::Request& request,
                   const StoredResponse* previous, const dialect::ResponseRecord& record,
                   std::uint64_t now_ns) {
    StoredResponse kept;
    kept.id = record.id();
    kept.account = std::string(account);
    kept.items_only = !request.store;
    if (request.store) {
        kept.body = record.body();
        if (previous != nullptr) kept.items = previous->items;
        kept.n_earlier = kept.items.size();
        for (dialect::ResponseItem& item : request.items)
            kept.items.push_back(std::move(item));
    }
    request.items.clear();
    std::vector<dialect::ResponseItem> output = record.output();
    kept.n_output = output.size();
    for (dialect::ResponseItem& item : output)
        kept.items.push_back(std::move(item));
    stored.put(std::move(kept), now_ns);
}

} // namespace bloom::api
