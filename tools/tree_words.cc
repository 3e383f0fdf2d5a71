#include "tools/tree_words.hh"

#include <fmt/format.h>

#include <charconv>

#include "tools/text/error.hh"

namespace pleach::tool {

std::optional<key_order> order_named(std::string_view word) {
  if (word == "bytes") return key_order::raw;
  if (word == "uint") return key_order::unsigned_integers;
  if (word == "int") return key_order::signed_integers;
  return std::nullopt;
}

const char* word_of(key_order order) {
  switch (order) {
    case key_order::raw:
      return "bytes";
    case key_order::unsigned_integers:
      return "uint";
    case key_order::signed_integers:
      return "int";
    case key_order::registered:
      break;
  }
  return "registered";
}

std::string dump_lines(const tree_info& t) {
  if (t.order == key_order::raw && t.prefix_compression && t.suffix_truncation) return {};
  std::string out = fmt::format("pleach.order={}\n", word_of(t.order));
  if (t.key_bytes != 0) out += fmt::format("pleach.key_bytes={}\n", t.key_bytes);
  if (t.value_bytes != 0) out += fmt::format("pleach.value_bytes={}\n", t.value_bytes);
  if (!t.prefix_compression) out += "pleach.prefix_compression=0\n";
  if (!t.suffix_truncation) out += "pleach.suffix_truncation=0\n";
  return out;
}

outcome<void> read_dump_words(const std::map<std::string, std::string>& words, tree_options& o) {
  for (const auto& [name, value] : words) {
    std::uint32_t n = 0;
    const auto [end, fault] = std::from_chars(value.data(), value.data() + value.size(), n);
    const bool number = fault == std::errc() && end == value.data() + value.size();
    const auto order = order_named(value);
    if (name == "order" && order)
      o.order = *order;
    else if (name == "key_bytes" && number)
      o.key_bytes = n;
    else if (name == "value_bytes" && number)
      o.value_bytes = n;
    else if (name == "prefix_compression" && number && n <= 1)
      o.prefix_compression = n != 0;
    else if (name == "suffix_truncation" && number && n <= 1)
      o.suffix_truncation = n != 0;
    else
      return fail(fmt::format("pleach.{}={} means nothing to this program", name, value));
  }
  return {};
}

outcome<std::string> key_for(const tree& t, const std::string& text, bool hex) {
  const bool is_signed = t.order() == key_order::signed_integers;
  if (hex || (!is_signed && t.order() != key_order::unsigned_integers)) return text;
  const bool negative = is_signed && text.starts_with('-');
  const std::string_view digits = std::string_view(text).substr(negative);
  const auto refuse = [&] {
    return fail(fmt::format("{} is no {} integer of {} bytes, as the keys of this tree are",
                            text::quoted(text), is_signed ? "signed" : "unsigned", t.key_bytes()),
                exit_usage);
  };
  // Least significant byte first; one byte more than a key has shows what does not fit.
  std::string bytes(t.key_bytes() + 1, '\0');
  if (digits.empty()) return refuse();
  for (const char c : digits) {
    if (c < '0' || c > '9') return refuse();
    unsigned carry = static_cast<unsigned>(c - '0');
    for (char& b : bytes) {
      carry += static_cast<unsigned char>(b) * 10u;
      b = static_cast<char>(carry & 0xff);
      carry >>= 8;
    }
    if (bytes.back() != 0) return refuse();
  }
  if (negative) {
    unsigned carry = 1;
    for (char& b : bytes) {
      carry += static_cast<unsigned char>(~b);
      b = static_cast<char>(carry & 0xff);
      carry >>= 8;
    }
  }
  bytes.pop_back();
  const bool zero = bytes.find_first_not_of('\0') == std::string::npos;
  if (is_signed && !zero && ((bytes.back() & 0x80) != 0) != negative) return refuse();
  return bytes;
}

}  // namespace pleach::tool
