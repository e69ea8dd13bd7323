#include "cli/fetch.hpp"

#include <chrono>
#include <optional>

#include <fmt/format.h>

#include <bloom/http/client.hpp>
#include <bloom/net/tls.hpp>
#include <bloom/rt/shard_set.hpp>
#include <bloom/rt/uring_driver.hpp>

namespace bloom::cli {
namespace {

constexpr std::size_t kBodyBytesMax = std::size_t{16} << 20;
constexpr std::chrono::seconds kPatience{30};

rt::Task<Result<std::string>> get(http::Client& client, const std::string& url) {
    rt::StopSource patience;
    patience.stop_after(kPatience);
    http::ClientRequest request;
    request.url = url;
    BLOOM_CO_TRY(http::ClientResponse response,
                 co_await client.request(std::move(request), patience.token()));
    const http::Status status = response.status();
    Result<std::string> body = co_await response.read_all(kBodyBytesMax, patience.token());
    co_await response.close();
    if (body && status != http::Status::ok) {
        co_return Error{Code::unavailable,
                        fmt::format("{} answered {}", url, http::to_int(status))};
    }
    co_return body;
}

rt::Task<Result<std::string>> fetch_here(const std::string& url) {
    http::ClientOptions options;
    std::optional<net::TlsContext> tls;
    BLOOM_CO_TRY(const http::Url parts, http::Url::parse(url));
    if (parts.tls) {
        BLOOM_CO_TRY(tls, net::TlsContext::client({}));
        options.tls = &*tls;
    }
    http::Client client(options);
    Result<std::string> body = co_await get(client, url);
    co_await client.close();
    co_return body;
}

} // namespace

Result<std::string> fetch(const std::string& url) {
    BLOOM_TRY(const std::unique_ptr<rt::ShardSet> shards, rt::start_shards({}));
    std::optional<Result<std::string>> result;

    struct Main {
        const std::string& url;
        std::optional<Result<std::string>>& result;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard& /*shard*/) const {
            return run(url, result);
        }

        static rt::Task<void> run(const std::string& url,
                                  std::optional<Result<std::string>>& result) {
            result.emplace(co_await fetch_here(url));
        }
    };

    BLOOM_OK(shards->run(Main{url, result}));
    return std::move(*result);
}

} // namespace bloom::cli
