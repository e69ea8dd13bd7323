// The client's side: a response head and its body, whole and cut, must give the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/base/rng.hpp>

#include "http/body.hpp"
#include "http/response_parser.hpp"

namespace {

using namespace bloom;

std::string read_response(std::string_view bytes, const std::vector<std::size_t>& cuts,
                          http::Method method) {
    http::Limits limits;
    limits.head_bytes = 512;
    limits.n_headers = 8;
    limits.chunk_extension_bytes = 32;
    limits.trailer_bytes = 64;
    constexpr std::uint64_t kBodyBytesMax = 1024;
    http::ResponseParser parser(limits);
    parser.reset(method);
    http::BodyDecoder body;
    bool in_body = false;
    std::string out;
    std::size_t from = 0;
    for (std::size_t i = 0; i <= cuts.size(); ++i) {
        const std::size_t to = i < cuts.size() ? cuts[i] : bytes.size();
        const std::vector<std::uint8_t> piece(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                                              bytes.begin() + static_cast<std::ptrdiff_t>(to));
        from = to;
        ByteSpan in(piece);
        if (!in_body && !in.empty()) {
            std::size_t consumed = 0;
            const Result<bool> fed = parser.feed(in, consumed);
            if (!fed) return out + "!";
            in = in.subspan(consumed);
            if (*fed) {
                in_body = true;
                const http::ResponseHead& head = parser.head();
                body.start(head.body, head.content_length, kBodyBytesMax, limits);
                out += std::to_string(to_int(head.status)) + ":";
            }
        }
        while (in_body && !in.empty() && !body.complete() && !body.failed()) {
            const http::BodyDecoder::Step step = body.next(in);
            out += as_text(step.data);
            in = in.subspan(step.consumed);
        }
    }
    return out + (body.failed() ? "!" : body.complete() ? "." : "");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom;
    if (size == 0) return 0;
    const std::string_view bytes = as_text({data + 1, size - 1});
    const http::Method method = data[0] % 7 == 0 ? http::Method::head : http::Method::get;
    Rng rng(data[0]);
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < bytes.size();) {
        at += 1 + rng.below(data[0] % 16 + 1);
        if (at < bytes.size()) cuts.push_back(at);
    }
    BLOOM_CHECK(read_response(bytes, {}, method) == read_response(bytes, cuts, method));
    return 0;
}
