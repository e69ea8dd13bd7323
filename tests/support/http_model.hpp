#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/body.hpp"
#include "http/parser.hpp"

namespace bloom::test {

/// What a server that uses the parsers by the book does with a byte stream, without any I/O.
struct ModelResult {
    std::vector<int> statuses;
    std::vector<std::string> requests; ///< "METHOD path body-bytes", as the router would see them
    bool closed = false;
    bool in_message = false; ///< input ended inside a request

    bool operator==(const ModelResult&) const = default;
};

class ModelServer {
public:
    explicit ModelServer(const http::Limits& limits) : limits_(limits), parser_(limits_) {}

    void feed(std::string_view bytes) {
        // Each piece lives in an exact heap block, so that sanitizers see a read past its end.
        const std::vector<std::uint8_t> piece(bytes.begin(), bytes.end());
        ByteSpan in(piece);
        while (!in.empty() && !result_.closed) {
            in = in.subspan(in_body_ ? take_body(in) : take_head(in));
        }
    }

    ModelResult finish() {
        result_.in_message = in_body_ || parser_.started();
        return result_;
    }

private:
    std::size_t take_head(ByteSpan in) {
        const http::FeedResult fed = parser_.feed(in);
        if (fed.progress == http::Progress::rejected)
            return refuse(parser_.rejection(), fed.consumed);
        if (fed.progress == http::Progress::need_more) return fed.consumed;
        const http::RequestHead& head = parser_.head();
        request_ = std::string(to_string(head.method)) + " " + std::string(head.path);
        healthy_ = head.path == "/health" || head.path == "*";
        keep_alive_ = head.keep_alive;
        body_.start(head.body, head.content_length, limits_.body_bytes, limits_);
        in_body_ = true;
        if (head.expect_continue && !body_.complete()) result_.statuses.push_back(100);
        if (body_.complete()) answer();
        return fed.consumed;
    }

    std::size_t take_body(ByteSpan in) {
        const http::BodyDecoder::Step step = body_.next(in);
        if (step.progress == http::Progress::rejected)
            return refuse(body_.rejection(), step.consumed);
        if (step.progress == http::Progress::complete) answer();
        return step.consumed;
    }

    void answer() {
        result_.requests.push_back(request_ + " " + std::to_string(body_.n_bytes()));
        result_.statuses.push_back(healthy_ ? 200 : 401);
        result_.closed = !keep_alive_;
        in_body_ = false;
        parser_.reset();
    }

    std::size_t refuse(const http::Rejection& why, std::size_t consumed) {
        result_.statuses.push_back(to_int(why.status));
        result_.closed = true;
        return consumed;
    }

    http::Limits limits_;
    http::HeadParser parser_;
    http::BodyDecoder body_;
    ModelResult result_;
    std::string request_;
    bool in_body_ = false, keep_alive_ = true, healthy_ = false;
};

inline ModelResult run_model(std::string_view bytes, const std::vector<std::size_t>& cuts,
                             const http::Limits& limits = {}) {
    ModelServer server(limits);
    std::size_t from = 0;
    for (const std::size_t cut : cuts) {
        server.feed(bytes.substr(from, cut - from));
        from = cut;
    }
    server.feed(bytes.substr(from));
    return server.finish();
}

} // namespace bloom::test
