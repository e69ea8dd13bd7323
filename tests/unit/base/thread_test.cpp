#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include <bloom/base/thread.hpp>

namespace bloom {
namespace {

TEST(Thread, OnlyTheCallingThreadStepsBack) {
    const int before = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()));
    int lowered = 0;
    std::thread([&] {
        become_compute_thread();
        lowered = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()));
    }).join();
    EXPECT_GE(lowered, before);
    EXPECT_TRUE(lowered == 5 || before >= 5) << lowered;
    EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid())), before);
}

} // namespace
} // namespace bloom
