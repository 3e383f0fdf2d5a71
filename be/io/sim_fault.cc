#include "be/io/sim_fault.hh"

namespace pleach::io {

fault fault_plan::ask(const request& r, u64 index) {
  for (fault_rule& rule : rules) {
    if (!(rule.kinds & on(r.kind))) continue;
    const bool ranged = r.kind != request_kind::FLUSH && r.kind != request_kind::RESIZE;
    if (ranged && (r.offset + r.length <= rule.from || r.offset >= rule.to)) continue;
    const u64 n = rule.seen++;
    if (n != rule.at && !(rule.sticky && n > rule.at)) continue;
    ++rule.fired;
    return rule.what;
  }
  return hook ? hook(r, index) : fault{};
}

}  // namespace pleach::io
