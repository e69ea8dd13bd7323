#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/snapshot.hpp>
#include <bloom/registry/provider_link.hpp>

namespace bloom::registry {

/// The providers of this node. Readers take an immutable snapshot and never lock; joining and
/// leaving replace it. Thread: any.
class Registry {
public:
    using Links = std::vector<std::shared_ptr<ProviderLink>>;

    std::shared_ptr<const Links> links() const { return links_.get(); }

    void add(std::shared_ptr<ProviderLink> link);
    void remove(const ProviderLink& link);

    /// One entry per model that some provider holds, by id, with how many hold it.
    struct ListedModel {
        ModelInfo info;
        int n_providers = 0;
        int n_attested = 0;
        TrustLevel trust = TrustLevel::none; ///< highest among them
        bool can_accept = false;
    };

    std::vector<ListedModel> models() const;

private:
    std::mutex writers_; // only add and remove take it
    Snapshot<Links> links_{std::make_shared<const Links>()};
};

} // namespace bloom::registry
