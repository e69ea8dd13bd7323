#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include <fmt/format.h>

#include <bloom/base/check.hpp>

#include "engine/engine_impl.hpp"

/// What happens to requests between steps: taking, preparing, cancelling, ending, delivering.
namespace bloom::engine {
namespace {

std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

std::size_t n_prompts(const gen::Generation& g) noexcept {
    return g.messages.empty() ? g.prompts.size() + g.token_prompts.size() : 1;
}

std::size_t input_bytes(const gen::Generation& g) noexcept {
    std::size_t n = 0;
    for (const gen::Message& m : g.messages) {
        for (const gen::Part& p : m.content)
            n += p.text.size();
        n += m.reasoning.size();
        for (const gen::ToolCall& call : m.tool_calls)
            n += call.arguments.size();
    }
    for (const gen::ToolDefinition& tool : g.tmpl.tools)
        n += tool.description.size() + tool.parameters.size();
    for (const std::string& p : g.prompts)
        n += p.size();
    for (const std::vector<std::int32_t>& p : g.token_prompts)
        n += p.size();
    return n;
}

/// The text of a last message of the assistant, which is to be continued.
std::string begun_answer(const gen::Generation& g) {
    std::string out;
    if (g.messages.empty() || g.messages.back().role != gen::Role::assistant) return out;
    if (!g.messages.back().tool_calls.empty()) return out;
    for (const gen::Part& p : g.messages.back().content)
        out += p.text;
    return out;
}

gen::Failure failure_of(CancelReason reason) noexcept {
    switch (reason) {
    case CancelReason::deadline:
        return gen::Failure::timeout;
    case CancelReason::overload:
        return gen::Failure::overloaded;
    case CancelReason::client_gone:
    case CancelReason::shutdown:
        return gen::Failure::cancelled;
    }
    return gen::Failure::cancelled;
}

std::string_view text_of(CancelReason reason) noexcept {
    switch (reason) {
    case CancelReason::deadline:
        return "the deadline has passed";
    case CancelReason::overload:
        return "stopped in favour of other requests";
    case CancelReason::client_gone:
        return "the client has gone";
    case CancelReason::shutdown:
        return "the model is being unloaded";
    }
    return "";
}

} // namespace

Result<> EngineImpl::submit(RequestId id, std::shared_ptr<const gen::Generation> generation,
                            std::int64_t credit_bytes) {
    BLOOM_CHECK(generation != nullptr);
    const gen::Generation& g = *generation;
    if (by_id_.contains(static_cast<std::uint64_t>(id))) {
        return Error{Code::id_reused,
                     fmt::format("request {} is running already", static_cast<std::uint64_t>(id))};
    }
    if (g.n_choices < 1 || g.n_choices > kMaxChoices) {
        return Error{Code::invalid_argument, fmt::format("n is {}; 1 to {} choices are possible",
                                                         g.n_choices, kMaxChoices)};
    }
    if (n_prompts(g) == 0 || n_prompts(g) > kMaxPrompts) {
        return Error{Code::invalid_argument,
                     fmt::format("{} prompts; 1 to {} are possible", n_prompts(g), kMaxPrompts)};
    }
    const auto waiting = static_cast<std::size_t>(batcher_.n_waiting()) + unprepared_.size();
    if (waiting + n_prompts(g) > static_cast<std::size_t>(options_.max_waiting)) {
        return Error{Code::limit_reached, fmt::format("{} prompts are waiting already", waiting)};
    }
    auto stops = text::StopStrings::create(g.limits.stop);
    // Whatever is wrong with them is the request's fault: limit_reached would mean "try again".
    if (!stops) return Error{Code::invalid_argument, std::string(stops.error().message())};
    auto request = std::make_unique<Request>();
    request->id = id;
    request->stops = std::move(*stops);
    request->seed = g.sampling.seed.value_or(
        mix(options_.seed_base ^ mix(static_cast<std::uint64_t>(id) + 0x9e3779b97f4a7c15U)));
    request->credit = credit_bytes;
    request->generation = std::move(generation);
    // In this order nothing is left behind where memory is missing: ids that are not in by_id_ are
    // passed over.
    if (requests_.size() == requests_.capacity()) requests_.reserve(2 * requests_.size() + 8);
    unprepared_.push_back(id);
    by_id_.emplace(static_cast<std::uint64_t>(id), request.get());
    requests_.push_back(std::move(request));
    ++capacity_sequence_;
    return {};
}

void EngineImpl::cancel(RequestId id, CancelReason reason) {
    const auto at = by_id_.find(static_cast<std::uint64_t>(id));
    if (at == by_id_.end() || at->second->ended) return;
    end_request(*at->second, failure_of(reason), text_of(reason));
}

void EngineImpl::add_credit(RequestId id, std::int64_t bytes) {
    const auto at = by_id_.find(static_cast<std::uint64_t>(id));
    if (at == by_id_.end()) return;
    at->second->credit += bytes;
    update_pause(*at->second);
}

void EngineImpl::update_pause(Request& request) {
    const bool paused = request.credit < 0;
    if (paused == request.paused) return;
    request.paused = paused;
    for (const auto& choice : request.choices) {
        if (choice->seq == SeqId::none) continue;
        if (paused) {
            batcher_.pause(choice->seq);
        } else {
            batcher_.resume(choice->seq);
        }
    }
}

gen::Event& EngineImpl::push_event(Request& request, gen::EventKind kind) {
    has_events_ = true;
    gen::Event& e = request.events.emplace_back();
    e.kind = kind;
    return e;
}

void EngineImpl::drop_sequences(Request& request) noexcept {
    for (const auto& choice : request.choices) {
        if (choice->seq == SeqId::none) continue;
        if (compute::index_of(choice->seq) < owners_.size()) owner(choice->seq) = {};
        batcher_.remove(choice->seq);
        choice->seq = SeqId::none;
    }
    ++capacity_sequence_;
}

void EngineImpl::fail(Request& request, gen::Failure failure, std::string message) {
    BLOOM_CHECK(!request.ended);
    drop_sequences(request);
    gen::Event& e = push_event(request, gen::EventKind::failed);
    e.failure = failure;
    e.text = std::move(message);
    e.usage = request.usage;
    request.ended = true;
}

/// fail() for callers that may not throw.
void EngineImpl::end_request(Request& request, gen::Failure failure,
                             std::string_view message) noexcept {
    try {
        fail(request, failure, std::string(message));
    } catch (const std::bad_alloc&) {
        starve(request);
    }
}

void EngineImpl::expire(std::int64_t now_ms) noexcept {
    for (const auto& request : requests_) {
        const std::int64_t deadline = request->generation->deadline_ms;
        if (request->ended || deadline == 0 || deadline > now_ms) continue;
        end_request(*request, failure_of(CancelReason::deadline), text_of(CancelReason::deadline));
    }
}

void EngineImpl::prepare_some() {
    std::size_t bytes = 0;
    std::size_t n_pending = 0; // at the front, in the order of their arrival
    while (n_pending < unprepared_.size() && bytes < kPrepareBytesPerStep) {
        const auto next = unprepared_.begin() + static_cast<std::ptrdiff_t>(n_pending);
        const auto at = by_id_.find(static_cast<std::uint64_t>(*next));
        if (at == by_id_.end() || at->second->ended) {
            unprepared_.erase(next);
            continue;
        }
        Request& request = *at->second;
        try {
            const std::optional<std::size_t> work = prepare(request);
            if (!work) {
                ++n_pending;
                continue;
            }
            bytes += *work;
        } catch (const std::bad_alloc&) {
            starve(request);
        }
        unprepared_.erase(unprepared_.begin() + static_cast<std::ptrdiff_t>(n_pending));
    }
}

/// Bytes of input that were looked at; nullopt while its grammar is being made elsewhere.
std::optional<std::size_t> EngineImpl::prepare(Request& request) {
    const gen::Generation& g = *request.generation;
    const std::size_t bytes = request.rendered ? 0 : input_bytes(g);
    if (!request.rendered) {
        request.rendered = true;
        if (const Result<> rendered = render_prompts(request); !rendered) {
            const auto failure = rendered.error().code() == Code::too_large
                                     ? gen::Failure::context_length
                                     : gen::Failure::invalid_request;
            fail(request, failure, std::string(rendered.error().message()));
            return bytes;
        }
    }
    const Result<Readiness> readiness = constrain(request);
    if (!readiness) {
        fail(request, gen::Failure::invalid_request, std::string(readiness.error().message()));
        return bytes + kPrepareBytesPerStep; // it may have taken as long as one that was made
    }
    if (*readiness == Readiness::pending) return std::nullopt;
    make_choices(request, std::exchange(request.prompts, {}));
    // A grammar that has been made here is enough for a step.
    return bytes + (*readiness == Readiness::made ? kPrepareBytesPerStep : 0);
}

/// Its prompts as tokens. Errors: too_large where one does not fit into the context; otherwise what
/// a template refuses by raise_exception, or cannot do with these messages, is the request's fault:
/// another provider would answer the same.
Result<> EngineImpl::render_prompts(Request& request) {
    Result<std::vector<Prompt>> prompts = prompts_.prepare(*request.generation);
    if (!prompts) return Error{Code::invalid_argument, std::string(prompts.error().message())};
    for (const Prompt& p : *prompts) {
        request.usage.prompt_tokens += static_cast<std::int64_t>(p.ids.size());
        if (static_cast<std::int64_t>(p.ids.size()) < info_.ctx_len) continue;
        return Error{Code::too_large,
                     fmt::format("the prompt has {} tokens, the model's context length is {}",
                                 p.ids.size(), info_.ctx_len)};
    }
    request.prompts = std::move(*prompts);
    return {};
}

/// Finds the grammar that the answers to each prompt have to follow.
Result<EngineImpl::Readiness> EngineImpl::constrain(Request& request) {
    text::ConstraintRequest wanted = prompts_.constraint_of(*request.generation);
    const bool others_run = batcher_.n_running() > 0;
    Readiness out = Readiness::ready;
    for (Prompt& prompt : request.prompts) {
        if (prompt.matcher) continue; // of an earlier step, which waited for that of another prompt
        wanted.in_reasoning = prompt.in_reasoning;
        // Once, for a request may be asked in many steps and its schemas be long.
        if (!prompt.constraint_key) prompt.constraint_key = Constraints::key_of(wanted);
        BLOOM_TRY(
            const Constraints::Found found,
            constraints_.find(*prompt.constraint_key, wanted, request.generation, others_run));
        if (found.pending) return Readiness::pending;
        if (!found.grammar) continue;
        if (found.made) out = Readiness::made;
        prompt.matcher.emplace(found.grammar);
        // An answer that the client has begun goes on from there, if it can be one at all.
        const std::string begun = begun_answer(*request.generation);
        if (!begun.empty()) static_cast<void>(prompt.matcher->accept_bytes(begun));
    }
    return out;
}

void EngineImpl::make_choices(Request& request, std::vector<Prompt> prompts) {
    const gen::Generation& g = *request.generation;
    request.choices.reserve(prompts.size() * static_cast<std::size_t>(g.n_choices));
    OutputOptions output;
    output.chat = !g.messages.empty();
    output.one_call = output.chat && !g.tmpl.parallel_tool_calls;
    output.logprobs = g.sampling.logprobs;
    output.reasoning = g.render.reasoning;
    output.parser = prompts_.parser_options(g);
    output.stops = request.stops;
    gen::Sampling sampling = g.sampling;
    for (const std::int32_t id : prompts_.tokenizer()->suppressed_ids())
        sampling.logit_bias.push_back({id, -std::numeric_limits<float>::infinity()});
    for (std::size_t p = 0; p < prompts.size(); ++p) {
        const auto first = static_cast<std::int32_t>(request.choices.size());
        output.parser.in_reasoning = prompts[p].in_reasoning;
        for (std::int32_t j = 0; j < g.n_choices; ++j) {
            const std::int32_t index = first + j;
            auto choice = std::make_unique<Choice>(Choice{
                index, static_cast<std::int32_t>(p), SeqId::none, 0, 0, false, prompts[p].echo,
                Sampler(sampling, request.seed, static_cast<std::uint32_t>(index)),
                ChoiceOutput(prompts_.tokenizer(), output)});
            const auto left = info_.ctx_len - static_cast<std::int32_t>(prompts[p].ids.size());
            choice->max_new = std::min(std::max(g.limits.max_tokens, 1), left);
            choice->sampler.observe_prompt(prompts[p].ids);
            choice->matcher = prompts[p].matcher;
            request.choices.push_back(std::move(choice));
        }
        if (Result<> queued = enqueue_prompt(request, prompts[p], first); !queued) {
            fail(request, gen::Failure::overloaded, std::string(queued.error().message()));
            return;
        }
    }
    request.n_choices_left = static_cast<std::int32_t>(request.choices.size());
    if (request.credit < 0) update_pause(request);
}

Result<> EngineImpl::enqueue_prompt(Request& request, Prompt& prompt, std::int32_t first_choice) {
    const gen::Generation& g = *request.generation;
    Choice& choice = *request.choices[static_cast<std::size_t>(first_choice)];
    Batcher::NewSequence seq;
    seq.tokens = std::move(prompt.ids);
    // Room for the answer at once, within reason: growing later costs a copy, never correctness.
    constexpr std::int32_t kReserve = 4096;
    seq.tokens.reserve(seq.tokens.size() +
                       static_cast<std::size_t>(std::min(choice.max_new, kReserve)));
    seq.fair_key = g.fair_key;
    seq.cache_scope = g.cache_scope;
    seq.priority = g.priority;
    seq.n_slots = g.n_choices;
    BLOOM_TRY(const SeqId id, batcher_.add(std::move(seq)));
    own(id, request, choice);
    return {};
}

void EngineImpl::own(SeqId seq, Request& request, Choice& choice) {
    const std::size_t i = compute::index_of(seq);
    choice.seq = seq; // first: whoever drops the request finds it
    if (i >= owners_.size()) owners_.resize(i + 1);
    owners_[i] = {&request, &choice};
    if (request.paused) batcher_.pause(seq);
}

void EngineImpl::finish_choice(Request& request, Choice& choice, gen::Finish finish) {
    choice.output.finish(choice.index, request.events);
    has_events_ = true;
    // What was held back until now may have held a stop string: it came before the limit did.
    if (choice.output.stopped()) finish = gen::Finish::stop;
    owner(choice.seq) = {};
    batcher_.remove(choice.seq);
    choice.seq = SeqId::none;
    choice.done = true;
    ++capacity_sequence_;
    gen::Event& e = push_event(request, gen::EventKind::finished);
    e.choice = choice.index;
    const bool calls =
        finish == gen::Finish::stop && choice.output.n_tool_calls() > 0 && !choice.output.stopped();
    e.finish = calls ? gen::Finish::tool_calls : finish;
    e.text = choice.output.stop_string();
    e.usage = request.usage;
    if (--request.n_choices_left == 0) {
        push_event(request, gen::EventKind::usage).usage = request.usage;
        request.ended = true;
    }
}

void EngineImpl::deliver_one(EventSink& sink, Request& request) {
    std::int64_t bytes = 0;
    for (const gen::Event& e : request.events) {
        if (e.kind == gen::EventKind::text_delta || e.kind == gen::EventKind::reasoning_delta ||
            e.kind == gen::EventKind::tool_args) {
            bytes += static_cast<std::int64_t>(e.text.size());
        }
    }
    try {
        sink.on_events(request.id, std::move(request.events));
    } catch (const std::bad_alloc&) {
        has_events_ = true; // they are still here
        return;
    }
    request.credit -= bytes;
    request.events.clear();
    if (!request.ended) update_pause(request);
}

void EngineImpl::deliver(EventSink& sink) {
    if (!has_events_) return;
    has_events_ = false;
    for (const auto& request : requests_) {
        if (!request->events.empty()) deliver_one(sink, *request);
        has_events_ |= request->starved && !request->ended;
    }
    std::erase_if(requests_, [&](const std::unique_ptr<Request>& request) {
        if (!request->ended || !request->events.empty()) return false;
        by_id_.erase(static_cast<std::uint64_t>(request->id));
        return true;
    });
}

} // namespace bloom::engine
