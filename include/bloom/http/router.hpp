#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/function_ref.hpp>
#include <bloom/base/result.hpp>
#include <bloom/http/request.hpp>
#include <bloom/rt/async_function.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::http {

class Exchange;

/// Answers one request. Runs before the body is read: it looks at the head and decides itself when,
/// and whether, to read. An Error that comes back before a response was begun is answered by the
/// server's error hook; one that comes back later cuts the connection.
///
///     router.add(Method::get, "/health", bind<&Health::get>(&health));   // member coroutine
///     router.add(Method::get, "/ping", ping);                            // function
using Handler = rt::AsyncFunction<rt::Task<Result<>>(Exchange&)>;

/// Calls one member function of an object that outlives the router.
template <auto kMember, class T>
struct MemberHandler {
    T* object;

    BLOOM_CORO_WRAPPER rt::Task<Result<>> operator()(Exchange& exchange) const {
        return (object->*kMember)(exchange);
    }
};

template <auto kMember, class T>
MemberHandler<kMember, T> bind(T* object) noexcept {
    return {object};
}

/// One set per method.
class MethodSet {
public:
    void add(Method m) noexcept { bits_ = static_cast<std::uint8_t>(bits_ | bit(m)); }

    bool has(Method m) const noexcept { return (bits_ & bit(m)) != 0; }

    bool empty() const noexcept { return bits_ == 0; }

private:
    static unsigned bit(Method m) noexcept { return 1U << static_cast<unsigned>(m); }

    std::uint8_t bits_ = 0;
};

/// Value of the Allow field: "GET, HEAD, OPTIONS".
std::string allow_value(MethodSet methods);

/// Parameters of the matched pattern, still percent-encoded. Views into pattern and path.
struct RawParams {
    static constexpr std::size_t kMax = 4;

    std::array<Header, kMax> items; ///< name, value
    std::size_t n = 0;
};

/// Paths to handlers. Patterns: literal segments, `{name}` for one segment, `{name...}` at the end
/// for one or more (slashes included, raw or as %2F). Literal beats parameter beats rest. One
/// trailing slash is ignored. HEAD is served wherever GET is. Case matters. Literals are compared
/// as sent. Thread: filled before the servers start, read-only after; any thread may match.
class Router {
public:
    Router();
    ~Router();
    Router(Router&&) noexcept;
    Router& operator=(Router&&) noexcept;

    /// A malformed pattern or a second handler for the same method and pattern is a caller bug.
    void add(Method method, std::string_view pattern, Handler handler);

    /// Answers OPTIONS on any path, and `OPTIONS *`, where no route names OPTIONS itself.
    void set_options(Handler handler) { options_ = std::move(handler); }

    enum class Outcome : std::uint8_t { found, not_found, method_not_allowed };

    struct Match {
        Outcome outcome = Outcome::not_found;
        const Handler* handler = nullptr; ///< for found
        std::string_view pattern;         ///< empty for not_found and for the general OPTIONS
        MethodSet allowed;                ///< of the path, for Allow; OPTIONS always among them
        RawParams params;
    };

    Match match(Method method, std::string_view path) const;

    /// Every method and pattern that was added; patterns without a trailing slash.
    void visit(FunctionRef<void(Method, std::string_view)> visitor) const;

private:
    struct Route;

    Route* find_route(std::string_view pattern);
    const Route* find_path(std::string_view path, RawParams& params) const;

    std::vector<std::unique_ptr<Route>> exact_;    ///< without parameters, sorted by path
    std::vector<std::unique_ptr<Route>> patterns_; ///< most specific first
    Handler options_;
};

} // namespace bloom::http
