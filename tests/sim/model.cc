#include "tests/sim/model.hh"

#include <algorithm>
#include <cstring>

#include "be/base/assert.hh"
#include "be/base/random.hh"

namespace pleach::sim {

std::string make_value(value_t v) {
  std::string out(v.length, '\0');
  random_stream r(v.seed);
  for (u32 i = 0; i < v.length; i += 8) {
    u64 w = r.next();
    std::memcpy(out.data() + i, &w, std::min<u32>(8, v.length - i));
  }
  return out;
}

bool same_value(const std::string& bytes, value_t v) {
  if (bytes.size() != v.length) return false;
  random_stream r(v.seed);
  for (u32 i = 0; i < v.length; i += 8) {
    u64 w = r.next();
    if (std::memcmp(bytes.data() + i, &w, std::min<u32>(8, v.length - i)) != 0) return false;
  }
  return true;
}

namespace {
u32 reversed_trees = 0;
}
void set_reversed(u32 trees) {
  reversed_trees = trees;
}
key_less order_of(const std::string& tree) {
  return {(reversed_trees >> (static_cast<u32>(tree.back() - '0') % 8) & 1) != 0};
}
int compare_reversed(std::string_view a, std::string_view b, void*) {
  return b.compare(a);
}

transaction& model::begin() {
  transaction& t = transactions_[next_];
  t.number = next_++;
  return t;
}

transaction& model::at(u64 number) {
  auto it = transactions_.find(number);
  PLEACH_ASSERT(it != transactions_.end());
  return it->second;
}

void model::apply(forest& to, lsn_t upto) const {
  std::vector<const transaction*> order;
  for (auto& [n, t] : transactions_)
    if (t.lsn != lsn_none && t.lsn <= upto) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    return a->lsn != b->lsn ? a->lsn < b->lsn : a->number < b->number;
  });
  for (const transaction* t : order)
    for (const effect& e : t->effects) switch (e.kind) {
        case effect::SET:
          content_in(to, e.tree)[e.key] = e.value;
          break;
        case effect::ERASE:
          content_in(to, e.tree).erase(e.key);
          break;
        case effect::CREATE:
          content_in(to, e.tree);
          break;
        case effect::DROP:
          to.erase(e.tree);
          break;
      }
}

forest model::state_at(lsn_t lsn) const {
  forest f = base_;
  apply(f, lsn);
  return f;
}

void model::roll_back_to(lsn_t lsn) {
  apply(base_, lsn);
  oldest_ = lsn;
  transactions_.clear();
}

void model::settle(lsn_t lsn) {
  apply(base_, lsn);
  oldest_ = std::max(oldest_, lsn);
  std::erase_if(transactions_,
                [&](auto& t) { return t.second.lsn != lsn_none && t.second.lsn <= lsn; });
}

std::string printable(const std::string& key) {
  std::string out;
  for (unsigned char c : key.substr(0, 48)) {
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      out += static_cast<char>(c);
    } else {
      static const char digits[] = "0123456789abcdef";
      out += '\\';
      out += digits[c >> 4];
      out += digits[c & 15];
    }
  }
  if (key.size() <= 48) return out;
  out += "...(" + std::to_string(key.size()) + ")";
  // Long ones differ at their end.
  return key.size() <= 1000 ? out : out + "..." + printable(key.substr(key.size() - 12));
}

std::string difference(const forest& expected, const forest& found) {
  for (auto& [name, c] : expected)
    if (!found.contains(name))
      return "tree " + name + " is missing (" + std::to_string(c.size()) + " records expected)";
  for (auto& [name, c] : found) {
    auto e = expected.find(name);
    if (e == expected.end()) return "tree " + name + " should not be there";
    auto a = e->second.begin(), a_end = e->second.end();
    auto b = c.begin();
    const key_less less = e->second.key_comp();
    for (; a != a_end || b != c.end(); ++a, ++b) {
      if (b == c.end() || (a != a_end && less(a->first, b->first)))
        return "tree " + name + ": record " + printable(a->first) + " is missing (" +
               std::to_string(e->second.size()) + " expected, " + std::to_string(c.size()) +
               " found)";
      if (a == a_end || less(b->first, a->first))
        return "tree " + name + ": record " + printable(b->first) + " should not be there";
      if (a->second != b->second)
        return "tree " + name + ": record " + printable(a->first) + " has another value";
    }
  }
  return {};
}

}  // namespace pleach::sim
