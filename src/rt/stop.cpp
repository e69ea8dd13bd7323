#include <array>
#include <cstddef>

#include <bloom/rt/shard.hpp>
#include <bloom/rt/stop.hpp>

namespace bloom::rt {

std::string_view to_string(StopReason reason) noexcept {
    static constexpr std::array<std::string_view, 7> kNames{
        "none", "requested", "client gone", "deadline", "shutdown", "overload", "lost race",
    };
    static_assert(kNames.size() == static_cast<std::size_t>(StopReason::lost_race) + 1);
    return kNames[static_cast<std::size_t>(reason)];
}

Error StopToken::error() const {
    const StopReason why = reason();
    if (why == StopReason::deadline) return Error(Code::timeout, "deadline passed");
    return Error(Code::cancelled, std::string(to_string(why)));
}

bool StopToken::link(StopNode& node) const noexcept {
    if (source_ == nullptr) return true;
    if (source_->stop_requested()) return false;
    BLOOM_CHECK(!node.linked());
    node.next_ = source_->listeners_;
    node.prev_next_ = &source_->listeners_;
    if (node.next_ != nullptr) node.next_->prev_next_ = &node.next_;
    source_->listeners_ = &node;
    return true;
}

StopSource::ParentLink::ParentLink(StopSource* owner) noexcept
    : StopNode([](StopNode& node) noexcept {
          StopSource& self = *static_cast<ParentLink&>(node).self;
          self.request_stop(self.parent_.reason());
      }),
      self(owner) {}

StopSource::Deadline::Deadline(StopSource* owner) noexcept
    : Timer([](Timer& timer) noexcept {
          static_cast<Deadline&>(timer).self->request_stop(StopReason::deadline);
      }),
      self(owner) {}

StopSource::StopSource(StopToken parent) noexcept : parent_(parent), link_(this), deadline_(this) {
    if (!parent_.link(link_)) reason_ = parent_.reason();
}

StopSource::~StopSource() {
    // A listener would be left pointing at nothing: join what holds a token first.
    BLOOM_CHECK(listeners_ == nullptr);
    clear_deadline();
}

bool StopSource::request_stop(StopReason reason) noexcept {
    BLOOM_CHECK(reason != StopReason::none);
    if (stop_requested()) return false;
    reason_ = reason;
    link_.unlink();
    clear_deadline();
    // One at a time from the front: a listener may unlink others.
    while (listeners_ != nullptr) {
        StopNode& node = *listeners_;
        node.unlink();
        node.notify_(node);
    }
    return true;
}

void StopSource::stop_at(std::uint64_t at_ns) noexcept {
    if (!stop_requested()) Shard::current().timers().add(deadline_, at_ns);
}

void StopSource::stop_after(Duration after) noexcept {
    const auto ns = after.count() > 0 ? static_cast<std::uint64_t>(after.count()) : 0;
    stop_at(Shard::current().now_ns() + ns);
}

void StopSource::clear_deadline() noexcept {
    if (deadline_.armed()) Shard::current().timers().cancel(deadline_);
}

} // namespace bloom::rt
