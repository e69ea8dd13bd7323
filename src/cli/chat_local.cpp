#include <chrono>

#include <bloom/provider/model_source.hpp>

#include "cli/chat_backend.hpp"
#include "cli/engine_setup.hpp"

namespace bloom::cli {
namespace {

using Clock = std::chrono::steady_clock;

gen::Role role_of(std::string_view name) {
    if (name == "system") return gen::Role::system;
    if (name == "assistant") return gen::Role::assistant;
    return gen::Role::user;
}

/// Shows text as it comes and remembers how the request ended.
class Listener final : public engine::EventSink {
public:
    explicit Listener(const std::function<void(std::string_view)>& show) : show_(show) {}

    void on_events(engine::RequestId /*id*/, gen::EventBatch&& events) override {
        for (const gen::Event& event : events) {
            switch (event.kind) {
            case gen::EventKind::text_delta:
                if (answer.text.empty()) first_ = Clock::now();
                answer.text += event.text;
                show_(event.text);
                break;
            case gen::EventKind::usage:
                answer.completion_tokens = event.usage.completion_tokens;
                break;
            case gen::EventKind::failed:
                failure = event.text.empty() ? "the engine failed" : event.text;
                break;
            default:
                break;
            }
        }
        answer.seconds = std::chrono::duration<double>(Clock::now() - first_).count();
    }

    ChatAnswer answer;
    std::string failure;

private:
    const std::function<void(std::string_view)>& show_;
    Clock::time_point first_ = Clock::now();
};

class LocalChat final : public ChatBackend {
public:
    LocalChat(LocalEngine engine, const ChatOptions& options)
        : local_(std::move(engine)), options_(options) {}

    Result<ChatAnswer> answer(const std::vector<ChatTurn>& turns,
                              const std::function<void(std::string_view)>& show) override {
        auto request = std::make_shared<gen::Generation>();
        for (const ChatTurn& turn : turns) {
            gen::Message message;
            message.role = role_of(turn.role);
            message.content.push_back({gen::Part::Kind::text, turn.text});
            request->messages.push_back(std::move(message));
        }
        request->sampling.temperature = static_cast<float>(options_.temperature);
        request->limits.max_tokens = options_.max_tokens;
        Listener listener(show);
        const auto id = static_cast<engine::RequestId>(++last_id_);
        constexpr std::int64_t kUnbounded = std::int64_t{1} << 40; // the terminal keeps up
        BLOOM_OK(local_.engine->submit(id, std::move(request), kUnbounded));
        while (local_.engine->n_requests() > 0)
            local_.engine->step(listener, 0);
        // Whatever a last step still has to deliver.
        local_.engine->step(listener, 0);
        if (!listener.failure.empty()) return Error{Code::invalid_argument, listener.failure};
        return std::move(listener.answer);
    }

private:
    LocalEngine local_;
    ChatOptions options_;
    std::uint64_t last_id_ = 0;
};

} // namespace

Result<std::unique_ptr<ChatBackend>> make_local_chat(const ChatOptions& options) {
    LocalEngineOptions engine;
    engine.n_threads = options.n_threads;
    engine.ctx = options.ctx;
    engine.n_layers = options.n_layers;
    engine.precise = options.precise;
    const std::string source =
        options.model.empty() ? std::string(provider::kBuiltInModel) : options.model;
    BLOOM_TRY(LocalEngine loaded, load_engine(source, engine));
    return std::unique_ptr<ChatBackend>(std::make_unique<LocalChat>(std::move(loaded), options));
}

} // namespace bloom::cli
