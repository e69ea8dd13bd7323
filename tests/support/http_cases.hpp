#pragma once

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "support/test_data.hpp"

namespace bloom::test {

/// One case of http1-requests/cases.json.
struct HttpCase {
    std::string id;
    std::string verdict; ///< accept, reject, either
    std::size_t responses_max = 0;
    std::string note;
    std::string bytes;
};

/// Reads exactly the shape of that file: an array of flat objects of strings and integers. Code
/// points of strings are bytes (Latin-1).
class HttpCaseReader {
public:
    explicit HttpCaseReader(std::string text) : text_(std::move(text)) {}

    std::vector<HttpCase> read() {
        std::vector<HttpCase> out;
        at_ = text_.find('[', text_.find("\"cases\""));
        if (at_ == std::string::npos) return out;
        ++at_;
        while (next() == '{') {
            std::map<std::string, std::string> fields = object();
            out.push_back({fields["id"], fields["verdict"],
                           std::strtoul(fields["max_responses"].c_str(), nullptr, 10),
                           fields["note"], fields["request"]});
            if (next() == ',') ++at_;
        }
        return out;
    }

private:
    char next() {
        while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])))
            ++at_;
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    std::map<std::string, std::string> object() {
        std::map<std::string, std::string> out;
        ++at_;
        while (next() == '"') {
            std::string key = string();
            next();
            ++at_; // the colon
            std::string value;
            if (next() == '"') {
                value = string();
            } else {
                while (text_[at_] != ',' && text_[at_] != '}')
                    value += text_[at_++];
            }
            out[key] = value;
            if (next() == ',') ++at_;
        }
        ++at_;
        return out;
    }

    unsigned code_point() {
        const unsigned value =
            static_cast<unsigned>(std::strtoul(text_.substr(at_, 4).c_str(), nullptr, 16));
        at_ += 4;
        return value;
    }

    std::string string() {
        std::string out;
        ++at_;
        while (text_[at_] != '"') {
            unsigned c = static_cast<unsigned char>(text_[at_++]);
            if (c == '\\') {
                const char e = text_[at_++];
                switch (e) {
                case 'n':
                    c = '\n';
                    break;
                case 'r':
                    c = '\r';
                    break;
                case 't':
                    c = '\t';
                    break;
                case 'b':
                    c = '\b';
                    break;
                case 'f':
                    c = '\f';
                    break;
                case 'u':
                    c = code_point();
                    break;
                default:
                    c = static_cast<unsigned char>(e);
                }
            } else if (c >= 0xc0) { // UTF-8 of U+0080..U+00FF
                c = (c & 0x1f) << 6 | (static_cast<unsigned char>(text_[at_++]) & 0x3f);
            }
            out += static_cast<char>(c);
        }
        ++at_;
        return out;
    }

    std::string text_;
    std::size_t at_ = 0;
};

inline std::vector<HttpCase> load_http_cases() {
    std::ifstream in(data_dir() / "http1-requests" / "cases.json", std::ios::binary);
    return HttpCaseReader(std::string(std::istreambuf_iterator<char>(in), {})).read();
}

} // namespace bloom::test
