// pleach stat: size, version, the features that the store has come to use, what recovery did, and
// every counter of the engine.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/safe_output.hh"

namespace pleach::tool {

namespace {

std::string as_json(const store& s) {
  std::string out = "{\"version\":";
  text::append_json_string(out, version());
  out += ",\"features\":";
  text::append_json_string(out, s.features());
  out += fmt::format(",\"size_bytes\":{},\"recovery\":", s.size_bytes());
  text::append_json_string(out, s.recovery_text());
  for (const counter& each : s.stats()) {
    out += ",";
    text::append_json_string(out, each.name);
    out += fmt::format(":{}", each.value);
  }
  return out + "}\n";
}

std::string as_text(const store& s) {
  const std::string& recovery = s.recovery_text();
  std::string out = fmt::format("{:<32} {}\n", "version", version());
  out += fmt::format("{:<32} {}\n", "features", s.features().empty() ? "none" : s.features());
  out += fmt::format("{:<32} {:>20}  size of the store, bytes\n", "size_bytes", s.size_bytes());
  out +=
      fmt::format("{:<32} {}\n", "recovery", recovery.empty() ? "none: closed cleanly" : recovery);
  for (const counter& each : s.stats()) {
    out += fmt::format("{:<32} {:>20}  {}\n", each.name, each.value, each.help);
  }
  return out;
}

}  // namespace

outcome<int> run_stat(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  text::safe_output output;
  if (auto done = output.write(c.json ? as_json(*s) : as_text(*s)); !done)
    return fail(done.error(), exit_done);
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

}  // namespace pleach::tool
