// The demo's helper: makes records of the package index and checks what a killed load left behind.
//
//   pleach-demo jsonl       < index     JSON Lines of the three trees, interleaved per package
//   pleach-demo key NAME    < index     hex key of the last stanza of package NAME
//   pleach-demo stanza NAME < index     hex bytes of that stanza
//   pleach-demo check-prefix INPUT SAVED ACKNOWLEDGED BATCH
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "tools/demo/check_prefix.hh"
#include "tools/demo/package_index.hh"
#include "tools/text/hex.hh"
#include "tools/text/json_lines.hh"

namespace pleach::demo {

namespace {

std::string reference_key(const std::string& target, const std::string& package) {
  std::string key = target;
  key += '\0';
  return key + package;
}

int print_json_lines() {
  std::string out;
  bool good = true;
  good = read_index(
             std::cin,
             [&](const stanza& s) {
               good = text::append_json_line(out, "packages", s.key(), s.text);
               for (const std::string& target : s.provides) {
                 good = good && text::append_json_line(
                                    out, "provides", reference_key(target, s.name), s.reference());
               }
               for (const std::string& target : s.depends) {
                 good = good && text::append_json_line(
                                    out, "depends", reference_key(target, s.name), s.reference());
               }
               good = good && std::fwrite(out.data(), 1, out.size(), stdout) == out.size();
               out.clear();
               return good;
             }) &&
         good;
  if (std::fflush(stdout) != 0) good = false;
  if (!good) fmt::print(stderr, "pleach-demo: the index could not be read or written\n");
  return good ? 0 : 8;
}

int print_hex(const std::string& name, bool key) {
  std::string found;
  read_index(std::cin, [&](const stanza& s) {
    if (s.name == name) found = key ? s.key() : s.text;
    return true;
  });
  if (found.empty()) return 1;
  fmt::print("{}\n", text::to_hex(found));
  return 0;
}

int check(char** arguments) {
  const prefix_verdict v =
      check_prefix(arguments[0], arguments[1], std::strtoull(arguments[2], nullptr, 10),
                   std::strtoull(arguments[3], nullptr, 10));
  fmt::print("{}\n", v.sentence);
  return v.good ? 0 : 1;
}

int run(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "jsonl" && argc == 2) return print_json_lines();
  if (what == "key" && argc == 3) return print_hex(argv[2], true);
  if (what == "stanza" && argc == 3) return print_hex(argv[2], false);
  if (what == "check-prefix" && argc == 6 && std::strtoull(argv[5], nullptr, 10) > 0)
    return check(argv + 2);
  fmt::print(
      stderr,
      "usage: pleach-demo jsonl | key NAME | stanza NAME | check-prefix INPUT SAVED ACKED BATCH\n");
  return 16;
}

}  // namespace

}  // namespace pleach::demo

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  return pleach::demo::run(argc, argv);
}
