#include <bloom/base/text.hpp>
#include <bloom/http/response.hpp>

#include "chars.hpp"

namespace bloom::http {

std::string_view reason(Status status) noexcept {
    switch (status) {
    case Status::continue_:
        return "Continue";
    case Status::switching_protocols:
        return "Switching Protocols";
    case Status::ok:
        return "OK";
    case Status::created:
        return "Created";
    case Status::accepted:
        return "Accepted";
    case Status::no_content:
        return "No Content";
    case Status::partial_content:
        return "Partial Content";
    case Status::moved_permanently:
        return "Moved Permanently";
    case Status::found:
        return "Found";
    case Status::not_modified:
        return "Not Modified";
    case Status::bad_request:
        return "Bad Request";
    case Status::unauthorized:
        return "Unauthorized";
    case Status::payment_required:
        return "Payment Required";
    case Status::forbidden:
        return "Forbidden";
    case Status::not_found:
        return "Not Found";
    case Status::method_not_allowed:
        return "Method Not Allowed";
    case Status::not_acceptable:
        return "Not Acceptable";
    case Status::request_timeout:
        return "Request Timeout";
    case Status::conflict:
        return "Conflict";
    case Status::gone:
        return "Gone";
    case Status::length_required:
        return "Length Required";
    case Status::precondition_failed:
        return "Precondition Failed";
    case Status::payload_too_large:
        return "Content Too Large";
    case Status::uri_too_long:
        return "URI Too Long";
    case Status::unsupported_media_type:
        return "Unsupported Media Type";
    case Status::range_not_satisfiable:
        return "Range Not Satisfiable";
    case Status::expectation_failed:
        return "Expectation Failed";
    case Status::unprocessable_entity:
        return "Unprocessable Content";
    case Status::upgrade_required:
        return "Upgrade Required";
    case Status::too_many_requests:
        return "Too Many Requests";
    case Status::header_fields_too_large:
        return "Request Header Fields Too Large";
    case Status::internal_server_error:
        return "Internal Server Error";
    case Status::not_implemented:
        return "Not Implemented";
    case Status::bad_gateway:
        return "Bad Gateway";
    case Status::service_unavailable:
        return "Service Unavailable";
    case Status::gateway_timeout:
        return "Gateway Timeout";
    case Status::http_version_not_supported:
        return "HTTP Version Not Supported";
    case Status::overloaded:
        return "Overloaded";
    }
    return "";
}

bool HeaderList::add(std::string_view name, std::string_view value) {
    if (name.empty() || !all_class(name, kToken) || !all_class(value, kFieldValue)) return false;
    lines_.append(name).append(": ").append(value).append("\r\n");
    return true;
}

bool HeaderList::set(std::string_view name, std::string_view value) {
    if (has(name)) remove(name);
    return add(name, value);
}

bool HeaderList::has(std::string_view name) const noexcept {
    return find(name) != std::string_view::npos;
}

void HeaderList::remove(std::string_view name) {
    for (std::size_t at = find(name); at != std::string_view::npos; at = find(name)) {
        lines_.erase(at, lines_.find('\n', at) + 1 - at);
    }
}

std::size_t HeaderList::find(std::string_view name) const noexcept {
    const std::string_view all = lines_;
    for (std::size_t at = 0; at < all.size(); at = all.find('\n', at) + 1) {
        if (all.size() - at > name.size() && all[at + name.size()] == ':' &&
            iequals(all.substr(at, name.size()), name)) {
            return at;
        }
    }
    return std::string_view::npos;
}

} // namespace bloom::http
