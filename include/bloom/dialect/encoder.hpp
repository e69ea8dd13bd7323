#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <bloom/gen/event.hpp>
#include <bloom/gen/render_spec.hpp>

namespace bloom::dialect {

/// Turns the events of one request into the bytes of one dialect. Pure: no clock, randomness,
/// locale or I/O, and ids derive from the RenderSpec, so whoever has the RenderSpec and the events
/// can make the same bytes again (design section 2, Signing). Thread: one.
class Encoder {
public:
    virtual ~Encoder() = default;

    /// Streaming: appends the server-sent events that this event becomes, none for some; one event
    /// becomes bytes on its own, so batching does not change them. Not streaming: collects.
    virtual void append(const gen::Event& event, std::string& out) = 0;

    /// Not streaming: appends the whole body. Streaming: nothing is left to say.
    virtual void finish(std::string& out) = 0;

    /// What closes a stream that ended well, outside the signed bytes; empty if the dialect has
    /// none.
    virtual std::string_view end_of_stream() const = 0;
};

/// The encoder of `spec.dialect`.
std::unique_ptr<Encoder> make_encoder(const gen::RenderSpec& spec);

} // namespace bloom::dialect
