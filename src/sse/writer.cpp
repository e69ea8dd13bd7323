#include <bloom/sse/writer.hpp>

namespace bloom::sse {

void append_event(std::string& out, std::string_view data, std::string_view type) {
    if (!type.empty()) out.append("event: ").append(type).append("\n");
    for (;;) {
        const std::size_t end = data.find('\n');
        out.append("data: ").append(data.substr(0, end)).append("\n");
        if (end == std::string_view::npos) break;
        data.remove_prefix(end + 1);
    }
    out += '\n';
}

void append_comment(std::string& out, std::string_view text) {
    out.append(": ").append(text).append("\n\n");
}

rt::Task<Result<>> Writer::begin(http::Status status) {
    http::HeaderList& fields = exchange_->headers();
    fields.set("Cache-Control", "no-cache");
    fields.set("X-Accel-Buffering", "no"); // nginx in front must not hold events back
    exchange_->begin(status, "text/event-stream; charset=utf-8");
    co_return Result<>{};
}

rt::Task<Result<>> Writer::comment(std::string_view text) {
    scratch_.clear();
    append_comment(scratch_, text);
    co_return co_await exchange_->write(scratch_);
}

rt::Task<Result<>> Writer::finish(std::string_view terminator, const http::HeaderList* trailers) {
    scratch_.clear();
    if (!terminator.empty()) append_event(scratch_, terminator);
    co_return co_await exchange_->finish(scratch_, trailers);
}

} // namespace bloom::sse
