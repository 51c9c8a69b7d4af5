// The order of the data and the filling of blocks, as `order.py` and `packing.py` have them, to the bit.
//
// Both are written in Python first: that is what they mean. A window of 2^18 molecules takes Python and NumPy a
// quarter of a second, and this some ten milliseconds, so that the blocks of 10^9 molecules can be counted at all.

#include <algorithm>
#include <cstdint>
#include <vector>

static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

extern "C" {

// Items at positions first … first+count-1 of the permutation of n items (order.Permutation).
void permute(uint64_t n, int half_bits, const uint64_t* keys, int rounds, uint64_t first, int64_t count,
             int64_t* out) {
    const uint64_t mask = (1ULL << half_bits) - 1;
    for (int64_t i = 0; i < count; ++i) {
        uint64_t value = first + static_cast<uint64_t>(i);
        do {
            uint64_t left = value >> half_bits, right = value & mask;
            for (int r = 0; r < rounds; ++r) {
                const uint64_t next = left ^ (mix(right ^ keys[r]) & mask);
                left = right;
                right = next;
            }
            value = (left << half_bits) | right;
        } while (value >= n);
        out[i] = static_cast<int64_t>(value);
    }
}

// Numbers of rows in any order, of a column that lies in several parts (storage.columns.Column).
//
// first: (parts + 1,) row that each part begins at; rows: (n,) that there are. A few are asked of memory before the
// first of them is looked at: each is a miss of every cache.
void gather(const uint16_t* const* parts, const int64_t* first, int64_t count, const int64_t* rows, int64_t n,
            uint16_t* out) {
    constexpr int64_t AHEAD = 64;
    const uint16_t* where[AHEAD];
    for (int64_t begin = 0; begin < n; begin += AHEAD) {
        const int64_t some = std::min(AHEAD, n - begin);
        for (int64_t i = 0; i < some; ++i) {
            const int64_t row = rows[begin + i];
            const int64_t part = std::upper_bound(first, first + count, row) - first - 1;
            where[i] = parts[part] + (row - first[part]);
            __builtin_prefetch(where[i]);
        }
        for (int64_t i = 0; i < some; ++i) out[begin + i] = *where[i];
    }
}

// Fill blocks with molecules in order, closing gaps from the next few hundred (packing.pack).
//
// sizes: (n,) positions of each molecule, from 1 up to block. members: (n,) takes the indices of the molecules, block
// by block. ends: (n,) takes for each block where its members end. Gives back the number of blocks.
int64_t pack(const int64_t* sizes, int64_t n, int64_t block, int64_t look_ahead, int64_t* members, int64_t* ends) {
    const int64_t words = block / 64 + 1;
    std::vector<uint64_t> waiting(words, 0);  // a bit for each length that is waiting
    std::vector<int64_t> front(block + 1, -1), back(block + 1, -1), next(n, -1);  // a queue for each length
    std::vector<char> taken(n, 0);
    int64_t head = 0, entered = 0, placed = 0, blocks = 0;
    while (head < n) {
        for (; entered < n && entered < head + look_ahead; ++entered) {
            const int64_t size = sizes[entered];
            if (front[size] < 0) front[size] = entered;
            else next[back[size]] = entered;
            back[size] = entered;
            waiting[size / 64] |= 1ULL << (size % 64);
        }
        int64_t room = block;
        for (; head < n && (taken[head] || sizes[head] <= room); ++head) {
            if (taken[head]) continue;
            members[placed++] = head;
            room -= sizes[head];
            taken[head] = 1;
        }
        for (;;) {  // the longest that waits and fits
            int64_t word = room / 64;
            const int shift = 63 - static_cast<int>(room % 64);
            uint64_t bits = (waiting[word] << shift) >> shift;
            while (!bits && word > 0) bits = waiting[--word];
            if (!bits) break;
            const int64_t size = word * 64 + 63 - __builtin_clzll(bits);
            int64_t index = front[size];
            while (index >= 0 && taken[index]) index = next[index];
            if (index < 0) {
                front[size] = back[size] = -1;
                waiting[word] &= ~(1ULL << (size % 64));
                continue;
            }
            front[size] = next[index];
            if (front[size] < 0) back[size] = -1;
            members[placed++] = index;
            taken[index] = 1;
            room -= size;
        }
        ends[blocks++] = placed;
    }
    return blocks;
}
}
