// Not a test: prints nanoseconds per find() (the best of 30 runs) in leaves that stay in the CPU's
// cache: slotted of either version, and fixed with either search. Of slotted ones also nanoseconds
// per insert into an empty leaf until it is full.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "btree/node_fixed.hh"
#include "tests/btree/node/test_page.hh"

using namespace pleach;
using namespace pleach::btree;

namespace {

struct filled {
  filled(u32 size, u32 key_bytes, u32 value_bytes, bool dense, record_shape shape,
         u16 format = node_format_slotted)
      : page(size) {
    random_stream r(1);
    format_node(page.writer(), page.ref.addr, 1, 5, page.ref.gen, 0, {}, {}, false, {}, shape,
                format);
    const std::string value(value_bytes, 'v');
    for (u64 i = 0;; ++i) {
      std::string k(key_bytes, '\0');
      for (u32 at = 0; at < key_bytes; at += 8) {
        const u64 a = !dense ? r.next() : at == 0 ? __builtin_bswap64(i) : 0;
        std::memcpy(k.data() + at, &a, std::min(8u, key_bytes - at));
      }
      if (room_for_insert(page.view(), as_bytes(k), value_bytes) != room::NOW) break;
      insert_at(page.writer(), page.view().find(as_bytes(k)).index, as_bytes(k), 0, 0,
                as_bytes(value));
      keys.push_back(k);
    }
  }
  double nanoseconds_per_find() const {
    // A long random order: branch predictors learn short ones.
    random_stream r(2);
    std::vector<u16> order(1 << 17);
    for (u16& o : order) o = static_cast<u16>(r.below(keys.size()));
    const node_view n = page.view();
    double best = 1e9;
    for (int chunk = 0; chunk < 30; ++chunk) {
      const auto start = std::chrono::steady_clock::now();
      for (const u16 o : order) sum += n.find(as_bytes(keys[o])).index;
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      best = std::min(best, took.count() / double(order.size()));
    }
    return best;
  }
  /// The same records into an empty leaf of the same version.
  double nanoseconds_per_insert(u32 value_bytes) const {
    const std::string value(value_bytes, 'v');
    double best = 1e9;
    for (int round = 0; round < 200; ++round) {
      test::test_page p(page.size());
      format_node(p.writer(), p.ref.addr, 1, 5, p.ref.gen, 0, {}, {}, false, {}, {},
                  page.view().header().format);
      const auto start = std::chrono::steady_clock::now();
      for (const std::string& k : keys)
        insert_at(p.writer(), p.view().find(as_bytes(k)).index, as_bytes(k), 0, 0, as_bytes(value));
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      best = std::min(best, took.count() / double(keys.size()));
    }
    return best;
  }
  test::test_page page;
  std::vector<std::string> keys;
  static inline u64 sum = 0;  // printed, lest the searches be left out
};

}  // namespace

int main() {
  struct line {
    u32 key_bytes, value_bytes;
  };
  for (const line l : {line{8, 8}, line{16, 100}, line{24, 24}})
    for (const bool dense : {false, true})
      for (const u32 size : {4096u, 16384u, 65536u}) {
        const filled slotted(size, l.key_bytes, l.value_bytes, dense, {});
        const filled second(size, l.key_bytes, l.value_bytes, dense, {}, node_format_slotted_2);
        const filled dense_rows(size, l.key_bytes, l.value_bytes, dense,
                                {static_cast<u16>(l.key_bytes), static_cast<u16>(l.value_bytes)});
        const double a = slotted.nanoseconds_per_find();
        const double a2 = second.nanoseconds_per_find();
        fixed::choose_search(fixed::search_path::PORTABLE);
        const double b = dense_rows.nanoseconds_per_find();
        fixed::choose_search(fixed::search_path::AUTOMATIC);
        const double c = dense_rows.nanoseconds_per_find();
        std::printf(
            "%2u+%3u %s keys, %6u B: slotted %4zu records %5.1f ns insert %5.1f ns, version 2 %4zu "
            "records %5.1f ns insert %5.1f ns, fixed %4zu records %5.1f ns portable, %5.1f ns "
            "vector\n",
            l.key_bytes, l.value_bytes, dense ? "dense " : "random", size, slotted.keys.size(), a,
            slotted.nanoseconds_per_insert(l.value_bytes), second.keys.size(), a2,
            second.nanoseconds_per_insert(l.value_bytes), dense_rows.keys.size(), b, c);
      }
  std::printf("(%llu)\n", static_cast<unsigned long long>(filled::sum));
}
