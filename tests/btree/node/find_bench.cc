// Not a test: prints nanoseconds per find() (the best of 30 runs) in nodes that stay in the CPU's
// cache.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tests/btree/node/test_page.hh"

using namespace pleach;
using namespace pleach::btree;

int main() {
  for (const bool dense : {false, true}) {
    for (const u32 size : {4096u, 16384u, 65536u}) {
      random_stream r(1);
      test::test_page p(size);
      format_node(p.writer(), p.ref.addr, 1, 5, p.ref.gen, 0, {}, {}, false, {});
      std::vector<std::string> keys;
      const std::string value(100, 'v');
      for (u64 i = 0;; ++i) {
        std::string k(16, '\0');
        const u64 a = dense ? __builtin_bswap64(i) : r.next(), b = dense ? 0 : r.next();
        std::memcpy(k.data(), &a, 8);
        std::memcpy(k.data() + 8, &b, 8);
        if (room_for_insert(p.view(), as_bytes(k), 100) != room::NOW) break;
        insert_at(p.writer(), p.view().find(as_bytes(k)).index, as_bytes(k), 0, 0, as_bytes(value));
        keys.push_back(k);
      }
      // A long random order: branch predictors learn short ones.
      std::vector<u16> order(1 << 17);
      for (u16& o : order) o = static_cast<u16>(r.below(keys.size()));
      const node_view n = p.view();
      u64 sum = 0;
      double best = 1e9;
      for (int chunk = 0; chunk < 30; ++chunk) {
        const auto start = std::chrono::steady_clock::now();
        for (const u16 o : order) sum += n.find(as_bytes(keys[o])).index;
        const std::chrono::duration<double, std::nano> took =
            std::chrono::steady_clock::now() - start;
        best = std::min(best, took.count() / double(order.size()));
      }
      std::printf("%s keys, %7u B node, %5zu records: %.1f ns per find (%llu)\n",
                  dense ? "dense " : "random", size, keys.size(), best,
                  static_cast<unsigned long long>(sum));
    }
  }
}
