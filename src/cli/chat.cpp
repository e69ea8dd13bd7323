#include <cstdio>
#include <iostream>
#include <unistd.h>

#include <fmt/format.h>

#include <bloom/cli/verbs.hpp>

#include "cli/chat_backend.hpp"
#include "cli/common.hpp"

namespace bloom::cli {
namespace {

Result<std::unique_ptr<ChatBackend>> choose_backend(const Arguments& arguments,
                                                    const Settings& settings) {
    ChatOptions options;
    options.model = arguments.chat_model;
    options.max_tokens = static_cast<std::int32_t>(arguments.max_tokens);
    options.temperature = arguments.temperature;
    options.n_threads = static_cast<int>(settings.integer("engine.threads"));
    options.ctx = static_cast<std::int32_t>(settings.integer("engine.ctx"));
    options.n_layers = static_cast<std::int32_t>(settings.integer("engine.layers"));
    options.precise = settings.flag("engine.precise");
    const std::string key = key_from_environment();
    if (!arguments.url.empty()) return make_remote_chat(arguments.url, key, options);
    // Without a key the node would refuse every question.
    const std::string url = key.empty() ? std::string() : running_node(settings);
    if (!url.empty()) return make_remote_chat(url, key, options);
    if (!options.model.empty()) {
        BLOOM_TRY(options.model, locate(options.model, settings));
    }
    return make_local_chat(options);
}

Result<> take_turn(ChatBackend& backend, std::vector<ChatTurn>& turns) {
    BLOOM_TRY(ChatAnswer answer, backend.answer(turns, [](std::string_view text) { print(text); }));
    print("\n");
    const double rate =
        answer.seconds > 0 ? static_cast<double>(answer.completion_tokens) / answer.seconds : 0;
    std::fputs(
        fmt::format("({} tokens, {:.1f} tokens/s)\n", answer.completion_tokens, rate).c_str(),
        stderr);
    turns.push_back({"assistant", std::move(answer.text)});
    return {};
}

Result<> converse(ChatBackend& backend, std::vector<ChatTurn> turns) {
    const bool terminal = ::isatty(STDIN_FILENO) != 0;
    for (std::string line;;) {
        if (terminal) print("> ");
        if (!std::getline(std::cin, line)) break;
        if (line.empty()) continue;
        if (line == "/quit" || line == "/exit") break;
        turns.push_back({"user", line});
        BLOOM_OK(take_turn(backend, turns));
    }
    return {};
}

Result<> chat(const Arguments& arguments) {
    BLOOM_TRY(const Settings settings, Settings::load({}, arguments.flags));
    BLOOM_TRY(const std::unique_ptr<ChatBackend> backend, choose_backend(arguments, settings));
    std::vector<ChatTurn> turns;
    if (!arguments.system.empty()) turns.push_back({"system", arguments.system});
    if (arguments.prompt.empty()) return converse(*backend, std::move(turns));
    turns.push_back({"user", arguments.prompt});
    return take_turn(*backend, turns);
}

} // namespace

int run_chat(const Arguments& arguments) {
    const Result<> done = chat(arguments);
    return done ? 0 : report(done.error());
}

} // namespace bloom::cli
