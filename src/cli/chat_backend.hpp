#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>

namespace bloom::cli {

struct ChatTurn {
    std::string role; ///< system, user, assistant
    std::string text;
};

struct ChatOptions {
    std::string model; ///< path or id; empty: the backend's own choice
    std::int32_t max_tokens = 1024;
    double temperature = 0.7;
    int n_threads = 0;
    std::int32_t ctx = 0;
    std::int32_t n_layers = 0;
    bool precise = false;
};

struct ChatAnswer {
    std::string text;
    std::int64_t completion_tokens = 0;
    double seconds = 0; ///< from the first text to the last
};

/// Whoever answers: an engine in this process, or a node.
class ChatBackend {
public:
    virtual ~ChatBackend() = default;
    /// Calls `show` with each piece of text as it comes.
    virtual Result<ChatAnswer> answer(const std::vector<ChatTurn>& turns,
                                      const std::function<void(std::string_view)>& show) = 0;
};

Result<std::unique_ptr<ChatBackend>> make_local_chat(const ChatOptions& options);
/// `key` is sent as a bearer token. Asks for the node's first model where options name none.
Result<std::unique_ptr<ChatBackend>> make_remote_chat(std::string url, std::string key,
                                                      const ChatOptions& options);

/// Ids of the models that the node on that URL serves. Errors: unavailable, with the node's words.
Result<std::vector<std::string>> served_models(const std::string& url, const std::string& key);

/// Whether a node answers on that URL.
bool is_alive(const std::string& url);

} // namespace bloom::cli
