#include <chrono>
#include <optional>

#include <fmt/format.h>

#include <bloom/http/client.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/rt/shard_set.hpp>
#include <bloom/rt/uring_driver.hpp>
#include <bloom/sse/reader.hpp>

#include "cli/chat_backend.hpp"

namespace bloom::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBodyBytesMax = std::size_t{16} << 20;

std::string without_slash(std::string url) {
    while (url.ends_with('/'))
        url.pop_back();
    return url;
}

/// The message of an OpenAI error envelope, or the status where there is none.
Error error_of(http::Status status, const std::string& body) {
    json::Parser parser;
    if (const auto document = parser.parse(body); document && document->is_object()) {
        const auto error = document->as_object()->find("error");
        const auto message =
            error && error->is_object() ? error->as_object()->find("message") : std::nullopt;
        if (message && message->is_string()) {
            return Error{Code::unavailable,
                         fmt::format("the node answered {}: {}", http::to_int(status),
                                     *message->as_string())};
        }
    }
    return Error{Code::unavailable, fmt::format("the node answered {}", http::to_int(status))};
}

class RemoteChat final : public ChatBackend {
public:
    RemoteChat(std::string url, std::string key, const ChatOptions& options)
        : url_(without_slash(std::move(url))), key_(std::move(key)), options_(options) {}

    Result<ChatAnswer> answer(const std::vector<ChatTurn>& turns,
                              const std::function<void(std::string_view)>& show) override {
        turns_ = &turns;
        show_ = &show;
        return run(&RemoteChat::ask);
    }

    /// Runs a member coroutine on a shard of its own.
    Result<ChatAnswer> run(rt::Task<Result<ChatAnswer>> (RemoteChat::*body)(http::Client&)) {
        BLOOM_TRY(const std::unique_ptr<rt::ShardSet> shards, rt::start_shards({}));
        body_ = body;

        struct Main {
            RemoteChat* self;

            BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard& /*shard*/) const {
                return self->main();
            }
        };

        BLOOM_OK(shards->run(Main{this}));
        return std::move(*result_);
    }

    rt::Task<Result<ChatAnswer>> check_health(http::Client& client) {
        BLOOM_CO_TRY(http::ClientResponse response,
                     co_await client.request(request(http::Method::get, "/health", {})));
        const bool fine = response.status() == http::Status::ok;
        co_await response.close();
        if (!fine) co_return Error{Code::unavailable, "not healthy"};
        co_return ChatAnswer{};
    }

    rt::Task<Result<ChatAnswer>> list_models(http::Client& client) {
        BLOOM_CO_TRY(http::ClientResponse response,
                     co_await client.request(request(http::Method::get, "/v1/models", {})));
        const http::Status status = response.status();
        const Result<std::string> body = co_await response.read_all(kBodyBytesMax);
        co_await response.close();
        if (!body) co_return std::unexpected(body.error());
        if (status != http::Status::ok) co_return error_of(status, *body);
        json::Parser parser;
        BLOOM_CO_TRY(const json::Value document, parser.parse(*body));
        BLOOM_CO_TRY(const json::Object object, document.as_object());
        BLOOM_CO_TRY(const json::Value data, object.at("data"));
        BLOOM_CO_TRY(const json::Array models, data.as_array());
        ids_.clear();
        for (const json::Value element : models) {
            BLOOM_CO_TRY(const json::Object model, element.as_object());
            BLOOM_CO_TRY(const json::Value id, model.at("id"));
            BLOOM_CO_TRY(const std::string_view name, id.as_string());
            ids_.emplace_back(name);
        }
        co_return ChatAnswer{};
    }

    std::vector<std::string> take_ids() { return std::move(ids_); }

private:
    rt::Task<void> main() {
        http::Client client;
        result_.emplace(co_await (this->*body_)(client));
        co_await client.close();
    }

    http::ClientRequest request(http::Method method, std::string_view path,
                                std::string body) const {
        http::ClientRequest out;
        out.method = method;
        out.url = url_ + std::string(path);
        if (!key_.empty()) out.headers.add("Authorization", "Bearer " + key_);
        if (!body.empty()) out.content_type = "application/json";
        out.body = std::move(body);
        return out;
    }

    std::string chat_body() const {
        std::string body;
        json::Writer w(body);
        w.begin_object().key("model").string(options_.model).key("stream").boolean(true);
        w.key("stream_options").begin_object().key("include_usage").boolean(true).end_object();
        w.key("max_tokens")
            .integer(options_.max_tokens)
            .key("temperature")
            .number(options_.temperature);
        w.key("messages").begin_array();
        for (const ChatTurn& turn : *turns_) {
            w.begin_object()
                .key("role")
                .string(turn.role)
                .key("content")
                .string(turn.text)
                .end_object();
        }
        w.end_array().end_object();
        return body;
    }

    rt::Task<Result<ChatAnswer>> ask(http::Client& client) {
        if (options_.model.empty()) {
            BLOOM_CO_OK(co_await list_models(client));
            if (ids_.empty()) co_return Error{Code::unavailable, "the node serves no model yet"};
            options_.model = ids_.front();
        }
        BLOOM_CO_TRY(http::ClientResponse response,
                     co_await client.request(
                         request(http::Method::post, "/v1/chat/completions", chat_body())));
        Result<ChatAnswer> answer = co_await read_answer(response);
        co_await response.close();
        co_return answer;
    }

    rt::Task<Result<ChatAnswer>> read_answer(http::ClientResponse& response) {
        if (response.status() != http::Status::ok) {
            BLOOM_CO_TRY(const std::string body, co_await response.read_all(kBodyBytesMax));
            co_return error_of(response.status(), body);
        }
        sse::Reader events;
        ChatAnswer answer;
        bool done = false;
        std::optional<Clock::time_point> first;
        for (;;) {
            BLOOM_CO_TRY(const std::string_view bytes, co_await response.read());
            if (bytes.empty()) break;
            BLOOM_CO_OK(events.feed(bytes));
            sse::Event event;
            while (events.next(event)) {
                if (event.data == "[DONE]") {
                    done = true;
                    continue;
                }
                BLOOM_CO_OK(take_chunk(event.data, answer));
                if (!first && !answer.text.empty()) first = Clock::now();
            }
        }
        if (!done) co_return Error{Code::truncated, "the node ended the answer early"};
        if (first) answer.seconds = std::chrono::duration<double>(Clock::now() - *first).count();
        co_return answer;
    }

    Result<> take_chunk(const std::string& data, ChatAnswer& answer) {
        BLOOM_TRY(const json::Value document, parser_.parse(data));
        BLOOM_TRY(const json::Object chunk, document.as_object());
        if (const auto error = chunk.find("error"); error && !error->is_null()) {
            return error_of(http::Status::ok, data);
        }
        if (const auto usage = chunk.find("usage"); usage && usage->is_object()) {
            if (const auto n = usage->as_object()->find("completion_tokens")) {
                BLOOM_TRY(answer.completion_tokens, n->as_int64());
            }
        }
        BLOOM_TRY(const json::Value choices, chunk.at("choices"));
        BLOOM_TRY(const json::Array list, choices.as_array());
        for (const json::Value choice : list) {
            BLOOM_TRY(const json::Object object, choice.as_object());
            BLOOM_TRY(const json::Value delta, object.at("delta"));
            BLOOM_TRY(const json::Object members, delta.as_object());
            const auto content = members.find("content");
            if (!content || !content->is_string()) continue;
            const std::string_view text = *content->as_string();
            answer.text += text;
            (*show_)(text);
        }
        return {};
    }

    std::string url_;
    std::string key_;
    ChatOptions options_;
    json::Parser parser_;
    std::vector<std::string> ids_; ///< of the node's models
    const std::vector<ChatTurn>* turns_ = nullptr;
    const std::function<void(std::string_view)>* show_ = nullptr;
    rt::Task<Result<ChatAnswer>> (RemoteChat::*body_)(http::Client&) = nullptr;
    std::optional<Result<ChatAnswer>> result_;
};

} // namespace

Result<std::unique_ptr<ChatBackend>> make_remote_chat(std::string url, std::string key,
                                                      const ChatOptions& options) {
    BLOOM_TRY(const http::Url checked, http::Url::parse(url));
    if (checked.tls) {
        return Error{Code::unsupported,
                     fmt::format("{}: chat speaks http only; https needs another client", url)};
    }
    return std::unique_ptr<ChatBackend>(
        std::make_unique<RemoteChat>(std::move(url), std::move(key), options));
}

Result<std::vector<std::string>> served_models(const std::string& url, const std::string& key) {
    RemoteChat node(url, key, {});
    BLOOM_OK(node.run(&RemoteChat::list_models));
    return node.take_ids();
}

bool is_alive(const std::string& url) {
    RemoteChat probe(url, {}, {});
    return probe.run(&RemoteChat::check_health).has_value();
}

} // namespace bloom::cli
