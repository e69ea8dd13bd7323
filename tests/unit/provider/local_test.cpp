#include <gtest/gtest.h>

#include <bloom/provider/local.hpp>
#include <bloom/rt/sim_driver.hpp>

namespace bloom::provider {
namespace {

// Shards that cannot start leave nobody who could await stop().
TEST(LocalProvider, MayGoWithoutStopWhereTheShardsNeverRan) {
    rt::SimWorld world(1);
    LocalOptions options;
    options.n_threads = 1;
    auto provider = LocalProvider::start(world, {}, options);
    ASSERT_TRUE(provider.has_value()) << provider.error().message();
    provider->reset();
}

} // namespace
} // namespace bloom::provider
