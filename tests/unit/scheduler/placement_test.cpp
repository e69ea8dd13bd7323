#include <gtest/gtest.h>

#include <bloom/scheduler/placement.hpp>

namespace bloom::scheduler {
namespace {

class FakeLink final : public registry::ProviderLink {
public:
    FakeLink(std::string serial, std::vector<std::string> models, std::int32_t running,
             bool draining = false) {
        identity_.serial = std::move(serial);
        registry::ModelList list;
        for (const std::string& id : models) {
            list.emplace_back();
            const std::size_t at = id.find('='); // "id=catalog id"
            list.back().id = id.substr(0, at);
            if (at != std::string::npos) list.back().catalog_id = id.substr(at + 1);
        }
        capacity_ = {1, 10,       running,
                     0, draining, std::make_shared<const registry::ModelList>(std::move(list))};
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override { return capacity_; }

    std::unique_ptr<registry::EventStream> submit(std::shared_ptr<const gen::Generation>) override {
        return nullptr;
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> /*request*/) override {
        co_return std::int64_t{0};
    }

    rt::Task<Result<>> load(std::string) override { co_return Result<>{}; }

    rt::Task<Result<>> unload(std::string) override { co_return Result<>{}; }

    void drain() override {}

private:
    registry::ProviderIdentity identity_;
    registry::Capacity capacity_;
};

struct Fixture {
    registry::Registry registry;
    std::shared_ptr<FakeLink> busy =
        std::make_shared<FakeLink>("s-busy", std::vector<std::string>{"m", "n"}, 8);
    std::shared_ptr<FakeLink> idle =
        std::make_shared<FakeLink>("s-idle", std::vector<std::string>{"m"}, 1);
    std::shared_ptr<FakeLink> leaving =
        std::make_shared<FakeLink>("s-leaving", std::vector<std::string>{"z"}, 0, true);
    gen::Generation request;

    Fixture() {
        registry.add(busy);
        registry.add(idle);
        registry.add(leaving);
        request.model = "m";
    }
};

TEST(Placement, LeastLoadedThatHoldsTheModel) {
    Fixture f;
    EXPECT_EQ(place(f.registry, f.request, {}).value(), f.idle);
    f.request.model = "n";
    EXPECT_EQ(place(f.registry, f.request, {}).value(), f.busy);
}

TEST(Placement, TriedProvidersAreLeftOutUntilNoneIsLeft) {
    Fixture f;
    const registry::ProviderLink* first[] = {f.idle.get()};
    EXPECT_EQ(place(f.registry, f.request, first).value(), f.busy);
    const registry::ProviderLink* both[] = {f.idle.get(), f.busy.get()};
    EXPECT_EQ(place(f.registry, f.request, both).error().reason, NoPlace::Reason::exhausted);
}

TEST(Placement, PinsAreObeyedOrRefused) {
    Fixture f;
    f.request.routing.provider_serials = {"s-busy"};
    EXPECT_EQ(place(f.registry, f.request, {}).value(), f.busy);
    f.request.routing.provider_serials = {"nobody"};
    EXPECT_EQ(place(f.registry, f.request, {}).error().reason, NoPlace::Reason::pin_unavailable);
}

TEST(Placement, UnknownModelNamesWhatIsHeld) {
    Fixture f;
    f.request.model = "x";
    const auto none = place(f.registry, f.request, {});
    ASSERT_FALSE(none.has_value());
    EXPECT_EQ(none.error().reason, NoPlace::Reason::unknown_model);
    EXPECT_EQ(none.error().held, (std::vector<std::string>{"m", "n", "z"}));
}

TEST(Placement, DrainingProvidersTakeNothingNew) {
    Fixture f;
    f.request.model = "z";
    EXPECT_EQ(place(f.registry, f.request, {}).error().reason, NoPlace::Reason::draining);
}

TEST(ResolveModel, EveryNameOfTheCatalogMeansTheBuildThatIsHeld) {
    const registry::Catalog& catalog = registry::Catalog::built_in();
    const std::string gemma = "mlx-community/gemma-4-26b-a4b-it-8bit";
    Fixture f;
    const auto resolved = [&](std::string_view name) {
        return resolve_model(f.registry, catalog, name);
    };
    EXPECT_EQ(resolved("m"), "m");
    EXPECT_EQ(resolved("nobody/knows"), "nobody/knows");
    EXPECT_EQ(resolved("gemma-4-26b"), gemma) << "the catalog's, though nobody holds it";
    const auto named = std::make_shared<FakeLink>(
        "s-named", std::vector<std::string>{"mine=" + gemma, "trinity-mini"}, 0);
    f.registry.add(named);
    EXPECT_EQ(resolved("gemma-4-26b"), "mine") << "under the name that its owner gave it";
    EXPECT_EQ(resolved(gemma), "mine");
    EXPECT_EQ(resolved("mine"), "mine");
    EXPECT_EQ(resolved("trinity-mini"), "trinity-mini") << "a name in use beats the catalog's";
    const auto build =
        std::make_shared<FakeLink>("s-build", std::vector<std::string>{gemma + "=" + gemma}, 0);
    f.registry.add(build);
    EXPECT_EQ(resolved("gemma-4-26b"), gemma);
    EXPECT_EQ(resolved("google/gemma-4-26B-A4B-it"), gemma);
}

TEST(Registry, ListsEachModelOnce) {
    Fixture f;
    const auto models = f.registry.models();
    ASSERT_EQ(models.size(), 3U);
    EXPECT_EQ(models[0].info.id, "m");
    EXPECT_EQ(models[0].n_providers, 2);
    EXPECT_TRUE(models[0].can_accept);
    EXPECT_FALSE(models[2].can_accept);
    f.registry.remove(*f.idle);
    EXPECT_EQ(f.registry.models()[0].n_providers, 1);
    EXPECT_TRUE(find_model(f.registry, "n").has_value());
    EXPECT_FALSE(find_model(f.registry, "q").has_value());
}

} // namespace
} // namespace bloom::scheduler
