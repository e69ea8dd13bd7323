#include <algorithm>
#include <map>

#include <bloom/registry/registry.hpp>

namespace bloom::registry {

void Registry::add(std::shared_ptr<ProviderLink> link) {
    const std::lock_guard lock(writers_);
    auto next = std::make_shared<Links>(*links());
    next->push_back(std::move(link));
    links_.set(std::move(next));
}

void Registry::remove(const ProviderLink& link) {
    const std::lock_guard lock(writers_);
    auto next = std::make_shared<Links>(*links());
    std::erase_if(*next, [&](const auto& held) { return held.get() == &link; });
    links_.set(std::move(next));
}

std::vector<Registry::ListedModel> Registry::models() const {
    std::map<std::string, ListedModel> by_id;
    const std::shared_ptr<const Links> snapshot = links();
    for (const auto& link : *snapshot) {
        const Capacity capacity = link->capacity();
        for (const ModelInfo& info : *capacity.models) {
            ListedModel& listed =
                by_id.try_emplace(info.id, ListedModel{info, 0, 0, TrustLevel::none, false})
                    .first->second;
            ++listed.n_providers;
            listed.n_attested += link->identity().attested ? 1 : 0;
            listed.trust = std::max(listed.trust, link->identity().trust);
            listed.can_accept |= !capacity.draining && capacity.n_running < capacity.n_slots;
        }
    }
    std::vector<ListedModel> models;
    models.reserve(by_id.size());
    for (auto& [id, listed] : by_id)
        models.push_back(std::move(listed));
    return models;
}

} // namespace bloom::registry
