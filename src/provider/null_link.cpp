#include <algorithm>
#include <atomic>

#include <bloom/base/check.hpp>
#include <bloom/provider/null_link.hpp>

namespace bloom::provider {
namespace {

constexpr std::int32_t kTokensMax = 64;
constexpr std::int32_t kContext = 1 << 20;
constexpr std::int32_t kSlots = 1 << 20;

gen::Event event(gen::EventKind kind) {
    gen::Event e;
    e.kind = kind;
    return e;
}

/// A word is about four bytes; nobody counts on this number.
std::int64_t prompt_tokens(const gen::Generation& request) {
    std::size_t n = 0;
    for (const gen::Message& message : request.messages) {
        for (const gen::Part& part : message.content)
            n += part.text.size() / 4 + 1;
    }
    for (const std::string& prompt : request.prompts)
        n += prompt.size() / 4 + 1;
    for (const std::vector<std::int32_t>& prompt : request.token_prompts)
        n += prompt.size();
    return static_cast<std::int64_t>(n);
}

class NullStream final : public registry::EventStream {
public:
    NullStream(std::shared_ptr<const gen::Generation> request, std::atomic<std::int32_t>& running)
        : request_(std::move(request)), running_(running),
          n_tokens_(std::min(request_->limits.max_tokens, kTokensMax)) {
        running_.fetch_add(1, std::memory_order_relaxed);
        usage_.prompt_tokens = prompt_tokens(*request_);
    }

    ~NullStream() override { running_.fetch_sub(1, std::memory_order_relaxed); }

    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) override {
        if (stop.stop_requested()) co_return stop.error();
        if (ended_) co_return std::nullopt;
        if (request_->render.stream && started_) co_await rt::yield();
        gen::EventBatch batch;
        do {
            append_next(batch);
        } while (!request_->render.stream && !ended_);
        co_return std::optional(std::move(batch));
    }

    void grant(std::size_t /*bytes*/) override {}

    rt::Task<gen::Usage> cancel() override {
        ended_ = true;
        co_return usage_;
    }

private:
    void append_next(gen::EventBatch& batch) {
        if (!started_) {
            started_ = true;
            batch.push_back(event(gen::EventKind::accepted));
            batch.push_back(event(gen::EventKind::started));
            batch.back().usage = usage_;
        }
        if (usage_.completion_tokens < n_tokens_) {
            batch.push_back(event(gen::EventKind::text_delta));
            batch.back().text = "null ";
            batch.back().n_tokens = 1;
            ++usage_.completion_tokens;
            return;
        }
        batch.push_back(event(gen::EventKind::finished));
        batch.back().finish = gen::Finish::length;
        batch.push_back(event(gen::EventKind::usage));
        batch.back().usage = usage_;
        ended_ = true;
    }

    std::shared_ptr<const gen::Generation> request_;
    std::atomic<std::int32_t>& running_;
    std::int32_t n_tokens_;
    gen::Usage usage_;
    bool started_ = false;
    bool ended_ = false;
};

class NullLink final : public registry::ProviderLink {
public:
    NullLink(registry::ProviderIdentity identity, std::string model_id)
        : identity_(std::move(identity)) {
        registry::ModelInfo model;
        model.id = std::move(model_id);
        model.display_name = "No engine (for measuring)";
        model.architecture = "null";
        model.context_length = kContext;
        models_ = std::make_shared<const registry::ModelList>(1, std::move(model));
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override {
        return {0,
                kSlots,
                running_.load(std::memory_order_relaxed),
                0,
                draining_.load(std::memory_order_relaxed),
                models_};
    }

    std::unique_ptr<registry::EventStream>
    submit(std::shared_ptr<const gen::Generation> request) override {
        return std::make_unique<NullStream>(std::move(request), running_);
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> request) override {
        co_return prompt_tokens(*request);
    }

    rt::Task<Result<>> load(std::string /*model*/) override {
        co_return Error{Code::unsupported, "bench:null holds no models"};
    }

    rt::Task<Result<>> unload(std::string /*model*/) override {
        co_return Error{Code::unsupported, "bench:null holds no models"};
    }

    void drain() override { draining_.store(true, std::memory_order_relaxed); }

private:
    registry::ProviderIdentity identity_;
    std::shared_ptr<const registry::ModelList> models_;
    std::atomic<bool> draining_{false};
    std::atomic<std::int32_t> running_{0};
};

} // namespace

std::shared_ptr<registry::ProviderLink> make_null_link(registry::ProviderIdentity identity,
                                                       std::string model_id) {
    return std::make_shared<NullLink>(std::move(identity), std::move(model_id));
}

} // namespace bloom::provider
