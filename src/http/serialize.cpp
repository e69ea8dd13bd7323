#include "serialize.hpp"

#include <charconv>
#include <chrono>

#include <bloom/base/check.hpp>

namespace bloom::http {
namespace {

void append_number(std::string& out, std::uint64_t n, int base = 10) {
    char digits[20];
    const auto end = std::to_chars(digits, digits + sizeof digits, n, base).ptr;
    out.append(digits, end);
}

void put_two(char* at, unsigned value) noexcept {
    at[0] = static_cast<char>('0' + value / 10 % 10);
    at[1] = static_cast<char>('0' + value % 10);
}

} // namespace

void append_head(std::string& out, const ResponseMeta& meta, const HeaderList& fields) {
    out += "HTTP/1.1 ";
    append_number(out, static_cast<std::uint64_t>(to_int(meta.status)));
    out += ' ';
    out += reason(meta.status);
    if (!meta.date.empty()) out.append("\r\nDate: ").append(meta.date);
    switch (meta.framing) {
    case ResponseFraming::length:
        out += "\r\nContent-Length: ";
        append_number(out, meta.content_length);
        break;
    case ResponseFraming::chunked:
        out += "\r\nTransfer-Encoding: chunked";
        break;
    case ResponseFraming::none:
    case ResponseFraming::until_close:
        break;
    }
    if (meta.close) {
        out += "\r\nConnection: close";
    } else if (meta.say_keep_alive) {
        out += "\r\nConnection: keep-alive";
    }
    out += "\r\n";
    out += fields.lines();
    out += "\r\n";
}

void append_chunk_size(std::string& out, std::uint64_t n) {
    append_number(out, n, 16);
    out += "\r\n";
}

HttpDate format_date(std::int64_t seconds) noexcept {
    BLOOM_CHECK(seconds >= 0);
    using namespace std::chrono;
    constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
    constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const sys_seconds time{std::chrono::seconds(seconds)};
    const sys_days day = floor<days>(time);
    const year_month_day date(day);
    const auto second_of_day = static_cast<unsigned>((time - day).count());
    const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
    HttpDate out;
    constexpr std::string_view kForm = "Xxx, 00 Xxx 0000 00:00:00 GMT";
    static_assert(kForm.size() == std::tuple_size_v<HttpDate>);
    kForm.copy(out.data(), kForm.size());
    kDays.copy(out.data(), 3, std::size_t{weekday(day).c_encoding()} * 3);
    put_two(&out[5], static_cast<unsigned>(date.day()));
    kMonths.copy(&out[8], 3, (static_cast<unsigned>(date.month()) - 1) * 3);
    put_two(&out[12], year / 100);
    put_two(&out[14], year % 100);
    put_two(&out[17], second_of_day / 3600);
    put_two(&out[20], second_of_day / 60 % 60);
    put_two(&out[23], second_of_day % 60);
    return out;
}

} // namespace bloom::http
