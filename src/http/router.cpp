#include <algorithm>

#include <bloom/base/check.hpp>
#include <bloom/http/router.hpp>

namespace bloom::http {
namespace {

enum class SegmentKind : std::uint8_t { literal, param, rest };

struct Segment {
    SegmentKind kind;
    std::string_view text; ///< literal or name
};

/// Next segment of a path or pattern that begins with '/'; the rest stays in `path`.
std::string_view take_segment(std::string_view& path) noexcept {
    path.remove_prefix(1);
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, end);
    path.remove_prefix(end);
    return segment;
}

std::string_view without_trailing_slash(std::string_view path) noexcept {
    if (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
    return path;
}

} // namespace

struct Router::Route {
    std::string pattern;
    std::vector<Segment> segments; ///< views into pattern; empty for an exact path
    std::array<Handler, kMethodCount> handlers;
    MethodSet methods;

    bool match(std::string_view path, RawParams& params) const noexcept {
        params.n = 0;
        for (const Segment& s : segments) {
            if (path.empty()) return false;
            if (s.kind == SegmentKind::rest) {
                params.items[params.n++] = {s.text, path.substr(1)};
                return path.size() > 1;
            }
            const std::string_view got = take_segment(path);
            if (s.kind == SegmentKind::literal ? got != s.text : got.empty()) return false;
            if (s.kind == SegmentKind::param) params.items[params.n++] = {s.text, got};
        }
        return path.empty();
    }

    /// Sort key: kinds in order, literal first, so that the most specific pattern is tried first.
    std::string rank() const {
        std::string key;
        for (const Segment& s : segments)
            key += static_cast<char>('a' + static_cast<int>(s.kind));
        return key;
    }

    void parse() {
        std::string_view rest = pattern;
        std::size_t n_params = 0;
        bool any_param = false;
        while (!rest.empty()) {
            std::string_view text = take_segment(rest);
            SegmentKind kind = SegmentKind::literal;
            if (text.starts_with('{')) {
                BLOOM_CHECK(text.ends_with('}'));
                text = text.substr(1, text.size() - 2);
                kind = SegmentKind::param;
                if (text.ends_with("...")) {
                    BLOOM_CHECK(rest.empty()); // the rest is last
                    text.remove_suffix(3);
                    kind = SegmentKind::rest;
                }
                BLOOM_CHECK(!text.empty());
                BLOOM_CHECK(++n_params <= RawParams::kMax);
                any_param = true;
            }
            segments.push_back({kind, text});
        }
        if (!any_param) segments.clear();
    }
};

Router::Router() = default;
Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

Router::Route* Router::find_route(std::string_view pattern) {
    for (auto* list : {&exact_, &patterns_}) {
        for (const auto& route : *list) {
            if (route->pattern == pattern) return route.get();
        }
    }
    return nullptr;
}

void Router::add(Method method, std::string_view pattern, Handler handler) {
    BLOOM_CHECK(pattern.starts_with('/'));
    BLOOM_CHECK(handler);
    pattern = without_trailing_slash(pattern);
    Route* route = find_route(pattern);
    if (route == nullptr) {
        auto made = std::make_unique<Route>();
        route = made.get();
        route->pattern = pattern;
        route->parse();
        auto& list = route->segments.empty() ? exact_ : patterns_;
        const auto before = [](const auto& x, const auto& y) {
            return x->segments.empty() ? x->pattern < y->pattern : x->rank() < y->rank();
        };
        const auto at = std::upper_bound(list.begin(), list.end(), made, before);
        list.insert(at, std::move(made));
    }
    BLOOM_CHECK(!route->methods.has(method));
    route->handlers[static_cast<std::size_t>(method)] = std::move(handler);
    route->methods.add(method);
}

const Router::Route* Router::find_path(std::string_view path, RawParams& params) const {
    const auto at = std::lower_bound(
        exact_.begin(), exact_.end(), path,
        [](const std::unique_ptr<Route>& r, std::string_view p) { return r->pattern < p; });
    if (at != exact_.end() && (*at)->pattern == path) return at->get();
    for (const auto& route : patterns_) {
        if (route->match(path, params)) return route.get();
    }
    return nullptr;
}

Router::Match Router::match(Method method, std::string_view path) const {
    Match out;
    const Route* route =
        path.starts_with('/') ? find_path(without_trailing_slash(path), out.params) : nullptr;
    if (route != nullptr) {
        out.pattern = route->pattern;
        out.allowed = route->methods;
        if (route->methods.has(Method::get)) out.allowed.add(Method::head);
        const bool as_get = method == Method::head && !route->methods.has(Method::head);
        const auto idx = static_cast<std::size_t>(as_get ? Method::get : method);
        if (route->handlers[idx]) out.handler = &route->handlers[idx];
    }
    if (out.handler == nullptr && method == Method::options && options_) {
        out.handler = &options_;
    }
    if (options_) out.allowed.add(Method::options);
    if (out.handler != nullptr) {
        out.outcome = Outcome::found;
    } else if (route != nullptr) {
        out.outcome = Outcome::method_not_allowed;
    }
    return out;
}

void Router::visit(FunctionRef<void(Method, std::string_view)> visitor) const {
    for (const auto* list : {&exact_, &patterns_}) {
        for (const auto& route : *list) {
            for (std::size_t i = 0; i < kMethodCount; ++i) {
                const auto method = static_cast<Method>(i);
                if (route->methods.has(method)) visitor(method, route->pattern);
            }
        }
    }
}

std::string allow_value(MethodSet methods) {
    std::string out;
    for (std::size_t i = 0; i < kMethodCount; ++i) {
        const auto method = static_cast<Method>(i);
        if (!methods.has(method)) continue;
        if (!out.empty()) out += ", ";
        out += to_string(method);
    }
    return out;
}

} // namespace bloom::http
