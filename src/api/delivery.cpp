#include "api/delivery.hpp"

#include <algorithm>
#include <exception>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/scheduler/placement.hpp>

namespace bloom::api {
namespace {

std::uint64_t ns(std::chrono::milliseconds time) {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

bool is_content(gen::EventKind kind) {
    return kind == gen::EventKind::text_delta || kind == gen::EventKind::reasoning_delta ||
           kind == gen::EventKind::tool_begin || kind == gen::EventKind::finished;
}

/// Whether another machine may do better; what the caller got wrong stays wrong everywhere.
bool is_retryable(const gen::Event& event) {
    if (event.kind == gen::EventKind::refused) {
        return event.refusal == gen::Refusal::busy || event.refusal == gen::Refusal::draining ||
               event.refusal == gen::Refusal::unknown_model;
    }
    return event.failure == gen::Failure::provider || event.failure == gen::Failure::overloaded;
}

/// What authenticates the thinking of one response: nobody else can make it, on this node or off.
std::string thinking_key(const Services& services, std::string_view response_id) {
    return std::string(
        as_text(crypto::hmac_sha256(services.thinking_secret, as_bytes(response_id))));
}

/// `events` are whole ones, at least one.
void put_behind_first_event(std::string_view bytes, std::string& events) {
    if (bytes.empty()) return;
    constexpr std::string_view kEnd = "\n\n";
    const std::size_t end = events.find(kEnd);
    BLOOM_CHECK(end != std::string::npos);
    events.insert(end + kEnd.size(), bytes);
}

/// The clock as it is now, where the turn's own time would measure nothing.
std::uint64_t clock_ns() {
    return rt::Shard::current().driver().now_ns();
}

} // namespace

/// State of one attempt. Lives in the coroutine frame of attempt().
struct Delivery::Attempt {
    registry::ProviderLink& link;
    int number;
    std::string job_id;
    gen::RenderSpec spec;
    std::unique_ptr<dialect::Encoder> encoder;
    std::unique_ptr<registry::EventStream> stream;
    std::string out;  // one buffer, rewritten for each batch
    std::string tail; // from the last choice's finished event on: sent after the settlement
    gen::Usage used;
    std::uint64_t last_event_ns = 0;
    std::uint64_t last_sent_ns = 0;                 // once committed
    std::uint64_t accepted_ns = 0;                  // 0: not yet
    std::int32_t n_finished = 0;                    // choices
    std::vector<gen::Finish> finishes{};            // of the choices
    std::optional<attest::ResponseSigner> signer{}; // none: the node has no key that answers here
    Timing timing{};
    std::uint64_t submitted_ns = 0;
    bool committed = false;
    bool began = false; // the encoder's first bytes have been sent
    bool had_content = false;
};

void Delivery::note_finish(Attempt& at, const gen::Event& event) {
    ++at.n_finished;
    const auto choice = static_cast<std::size_t>(event.choice);
    if (at.finishes.size() <= choice) at.finishes.resize(choice + 1, gen::Finish::none);
    at.finishes[choice] = event.finish;
}

rt::Task<Outcome> Delivery::run() {
    std::vector<const registry::ProviderLink*> tried;
    Outcome last;
    for (int number = 1; number <= services_.limits.n_attempts; ++number) {
        const std::uint64_t begun_ns = clock_ns();
        auto found = find_provider(services_, request_, tried);
        arrival_.timing.route_ns += clock_ns() - begun_ns;
        if (!found) {
            if (number > 1) co_return last; // the last real failure says more than "nobody is left"
            last.error = std::move(found).error();
            co_return last;
        }
        tried.push_back(found->get());
        const std::shared_ptr<registry::ProviderLink> link = std::move(*found);
        last = co_await attempt(*link, number);
        if (last.kind != Outcome::Kind::refused || !last.retryable) break;
    }
    co_return last;
}

rt::Task<Outcome> Delivery::attempt(registry::ProviderLink& link, int number) {
    Attempt at{link, number, crypto::uuid_v4(), {}, {}, {}, {}, {}, {}};
    auto request = std::make_shared<gen::Generation>(request_);
    request->attempt = number;
    request->render.response_id = dialect_.response_id(at.job_id);
    request->render.thinking_key = thinking_key(services_, request->render.response_id);
    request->routing = {}; // a wish to the scheduler, nothing for the machine
    at.timing = arrival_.timing;
    if (arrival_.metadata_details)
        request->render.metadata = metadata_json(link.identity(), at.job_id, at.timing);
    at.spec = request->render;
    if (services_.attestation != nullptr &&
        services_.attestation->key().node_id() == link.identity().id) {
        at.signer.emplace(services_.attestation->key());
    }
    at.encoder = dialect_.make_encoder(at.spec);
    if (record_ != nullptr) record_->begin(at.spec);
    at.last_event_ns = rt::Shard::current().now_ns();
    at.submitted_ns = clock_ns();
    at.stream = link.submit(std::move(request));
    at.timing.dispatch_ns = clock_ns() - at.submitted_ns;
    Outcome outcome;
    std::exception_ptr thrown;
    try {
        outcome = co_await pump(at);
    } catch (...) {
        thrown = std::current_exception(); // the stream still has to be ended, which takes waiting
    }
    // Also where the stream has ended: cancel() then only returns the counts.
    const gen::Usage final = co_await at.stream->cancel();
    if (thrown) std::rethrow_exception(thrown);
    if (outcome.kind == Outcome::Kind::client_gone) outcome.used = final;
    outcome.had_content = at.had_content;
    co_return outcome;
}

rt::Task<Outcome> Delivery::pump(Attempt& at) {
    for (;;) {
        rt::StopSource wait(ex_.stop());
        wait.stop_at(wait_until_ns(at));
        auto next = co_await at.stream->next(wait.token());
        std::optional<Outcome> end;
        if (!next) {
            end = co_await on_wait_over(at, next.error());
        } else if (!*next) {
            // A provider that ends without saying how has failed.
            gen::Event failed;
            failed.kind = gen::EventKind::failed;
            failed.failure = gen::Failure::provider;
            end = co_await on_batch(at, {failed});
        } else {
            at.last_event_ns = rt::Shard::current().now_ns();
            end = co_await on_batch(at, std::move(**next));
        }
        if (end) co_return std::move(*end);
    }
}

std::uint64_t Delivery::wait_until_ns(const Attempt& at) const {
    const std::uint64_t silent = at.last_event_ns + ns(services_.limits.silence);
    if (!at.spec.stream) return silent;
    // Counted from what the client last saw, not from events: hidden thinking sends nothing.
    if (at.committed) return std::min(silent, at.last_sent_ns + ns(services_.limits.keep_alive));
    if (at.accepted_ns == 0) return silent;
    return std::min(silent, at.accepted_ns + ns(services_.limits.commit_after));
}

rt::Task<std::optional<Outcome>> Delivery::on_wait_over(Attempt& at, const Error& error) {
    if (error.code() != Code::timeout || ex_.stop().stop_requested())
        co_return client_gone(at, at.used);
    if (rt::Shard::current().now_ns() - at.last_event_ns >= ns(services_.limits.silence)) {
        gen::Event failed;
        failed.kind = gen::EventKind::failed;
        failed.failure = gen::Failure::timeout;
        co_return co_await on_batch(at, {failed});
    }
    // Some dialects keep alive by an event, which must not come before their first one.
    const Result<> sent =
        co_await send(at, at.began ? dialect_.keep_alive : dialect::kKeepAliveComment);
    if (!sent) co_return client_gone(at, at.used);
    co_return std::nullopt;
}

rt::Task<std::optional<Outcome>> Delivery::on_batch(Attempt& at, gen::EventBatch batch) {
    at.out.clear();
    std::size_t text_bytes = 0;
    bool ended = false;
    for (const gen::Event& event : batch) {
        if (gen::is_terminal_failure(event)) {
            if (!at.committed) {
                Outcome refused;
                refused.error = to_api_error(event);
                if (refused.error.param == "messages") refused.error.param = dialect_.prompt_param;
                refused.retryable = is_retryable(event);
                co_return refused;
            }
            at.encoder->append(event, at.out);
            // The client may be gone as well; either way the stream is over.
            static_cast<void>(co_await send(at, at.out));
            Outcome broken;
            broken.kind = Outcome::Kind::broken;
            co_return broken;
        }
        if (event.kind == gen::EventKind::accepted) at.accepted_ns = rt::Shard::current().now_ns();
        if (event.kind == gen::EventKind::started || event.kind == gen::EventKind::usage)
            at.used = event.usage;
        at.had_content |= is_content(event.kind);
        if (event.kind == gen::EventKind::finished) note_finish(at, event);
        ended |= event.kind == gen::EventKind::usage;
        text_bytes += event.text.size();
        if (record_ != nullptr) record_->append(event);
        at.encoder->append(event, at.n_finished >= gen::n_answers(request_) ? at.tail : at.out);
    }
    if (at.spec.stream && !at.out.empty()) {
        if (at.signer) at.signer->update(at.out); // what the encoder wrote
        if (!at.began) put_behind_first_event(dialect_.after_first_event, at.out);
        at.began = true;
        const Result<> sent = co_await send(at, at.out);
        if (!sent) co_return client_gone(at, at.used);
    }
    at.stream->grant(text_bytes);
    if (!ended) co_return std::nullopt;

    Outcome answered;
    answered.kind = Outcome::Kind::answered;
    answered.used = at.used;
    answered.tail = std::move(at.tail);
    at.encoder->finish(answered.tail);
    const Result<> begun = co_await commit(at);
    if (!begun) co_return client_gone(at, at.used);
    sign(at, answered);
    answered.tail += at.encoder->end_of_stream();
    co_return answered;
}

void Delivery::sign(Attempt& at, Outcome& answered) {
    if (!at.signer) return;
    at.signer->update(answered.tail);
    const Result<attest::Evidence> evidence = at.signer->finish(statement_of(
        at.spec, request_.model, at.used, at.finishes, rt::Shard::current().unix_ms() / 1000));
    if (!evidence) {
        // Better an answer without a signature than none; callers that need one see that it lacks.
        log::error("response {}: {}", at.spec.response_id, evidence.error().message());
        return;
    }
    if (!at.spec.stream) return add_evidence_headers(ex_.headers(), *evidence);
    answered.tail += attest::signature_comment(*evidence);
    add_evidence_trailers(answered.trailers, *evidence);
}

rt::Task<Result<>> Delivery::commit(Attempt& at) {
    if (at.committed) co_return Result<>{};
    at.committed = true;
    at.timing.provider_ns = clock_ns() - at.submitted_ns - at.timing.dispatch_ns;
    add_provider_headers(at);
    if (!at.spec.stream) co_return Result<>{};
    co_return co_await sse_.begin(http::Status::ok);
}

rt::Task<Result<>> Delivery::send(Attempt& at, std::string_view bytes) {
    if (!at.spec.stream) co_return Result<>{}; // a whole answer keeps its silence
    BLOOM_CO_OK(co_await commit(at));
    BLOOM_CO_OK(co_await sse_.send(bytes));
    at.last_sent_ns = rt::Shard::current().now_ns();
    co_return Result<>{};
}

Outcome Delivery::client_gone(const Attempt& at, gen::Usage used) const {
    Outcome gone;
    gone.kind = Outcome::Kind::client_gone;
    gone.used = used;
    gone.had_content = at.had_content;
    return gone;
}

void Delivery::add_provider_headers(const Attempt& at) {
    http::HeaderList& headers = ex_.headers();
    headers.set("x-inference-job-id", at.job_id);
    add_identity_headers(headers, at.link.identity());
    headers.set("x-timing", to_json(at.timing, true));
    if (at.signer && at.spec.stream && ex_.request().version == http::Version::http_1_1)
        headers.set("Trailer", kTrailerNames);
    headers.set("x-darkbloom-attempts", fmt::format("{}", at.number));
    headers.set("openai-processing-ms",
                fmt::format("{}", (rt::Shard::current().now_ns() - ex_.begin_ns()) / 1'000'000));
}

} // namespace bloom::api
