// Energy, forces and stress of a molecule or crystal by a potential that chemscale exported; no Python.
//
//   evaluate model.pt2 structure.xyz
//
// The file is extended XYZ: symbol and position (Å) first in each row; Lattice="…" makes it a crystal, pbc="T T F"
// says in which directions, charge= and spin= (multiplicity) are read. Link with torch, torch_cpu and c10.

#include <ATen/ops/from_blob.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using Vector = std::array<double, 3>;

static const char* SYMBOLS =
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og";

struct Structure {
  std::vector<int64_t> numbers, senders, receivers, shifts;
  std::vector<double> positions, cell = std::vector<double>(9, 0.0);
  std::array<bool, 3> periodic = {false, false, false};
  int64_t charge = 0, spin = 0;
};

// Value of key="…" or key=…; empty where the comment line has no such key.
std::string value_of(const std::string& comment, const std::string& key) {
  const std::string padded = " " + comment;
  size_t at = padded.find(" " + key + "=");
  if (at == std::string::npos) return "";
  at += key.size() + 2;
  const bool quoted = padded[at] == '"';
  const size_t end = padded.find(quoted ? '"' : ' ', at + quoted);
  return padded.substr(at + quoted, end == std::string::npos ? end : end - at - quoted);
}

int64_t atomic_number(const std::string& symbol) {
  std::istringstream all(SYMBOLS);
  std::string each;
  for (int64_t number = 1; all >> each; ++number)
    if (each == symbol) return number;
  throw std::runtime_error(symbol + " is no element");
}

Structure read(const std::string& path) {
  std::ifstream file(path);
  std::string line, comment;
  if (!std::getline(file, line)) throw std::runtime_error(path + " cannot be read");
  const int64_t atoms = std::stol(line);
  std::getline(file, comment);
  Structure s;
  if (const std::string lattice = value_of(comment, "Lattice"); !lattice.empty()) {
    std::istringstream numbers(lattice);
    for (double& x : s.cell) numbers >> x;
    s.periodic = {true, true, true};
    if (const std::string pbc = value_of(comment, "pbc"); !pbc.empty()) {
      std::istringstream flags(pbc);
      std::string flag;
      for (bool& p : s.periodic) p = (flags >> flag) && flag[0] == 'T';
    }
  }
  if (const std::string q = value_of(comment, "charge"); !q.empty()) s.charge = std::stol(q);
  if (const std::string m = value_of(comment, "spin"); !m.empty()) s.spin = std::stol(m);
  while (int64_t(s.numbers.size()) < atoms && std::getline(file, line)) {
    std::istringstream row(line);
    std::string symbol;
    double x, y, z;
    if (!(row >> symbol >> x >> y >> z)) throw std::runtime_error(path + ": no position in: " + line);
    s.numbers.push_back(atomic_number(symbol));
    s.positions.insert(s.positions.end(), {x, y, z});
  }
  if (int64_t(s.numbers.size()) != atoms) throw std::runtime_error(path + " ends before its last atom");
  return s;
}

Vector cross(const double* a, const double* b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

double dot(const Vector& a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// Every ordered pair of atoms within the cutoff, images included: atoms² times images, for examples.
void find_neighbours(Structure& s, double cutoff) {
  const double* c = s.cell.data();
  const size_t atoms = s.numbers.size();
  std::array<Vector, 3> inverse{};  // rows: fractional coordinate i of r is inverse[i]·r
  std::array<int64_t, 3> reach = {0, 0, 0};
  const bool crystal = s.periodic[0] || s.periodic[1] || s.periodic[2];
  for (int i = 0; crystal && i < 3; ++i) {
    const Vector normal = cross(c + 3 * ((i + 1) % 3), c + 3 * ((i + 2) % 3));
    const double volume = dot(normal, c + 3 * i), area = std::sqrt(dot(normal, normal.data()));
    if (std::abs(volume) < 1e-9) throw std::runtime_error("the cell has no volume");
    for (int k = 0; k < 3; ++k) inverse[i][k] = normal[k] / volume;
    if (s.periodic[i]) reach[i] = int64_t(std::ceil(cutoff * area / std::abs(volume)));
  }
  // Whole cells that each atom lies away from the first one.
  std::vector<int64_t> away(3 * atoms, 0);
  for (size_t a = 0; a < atoms; ++a)
    for (int i = 0; i < 3; ++i)
      if (s.periodic[i]) away[3 * a + i] = int64_t(std::floor(dot(inverse[i], &s.positions[3 * a])));
  for (size_t r = 0; r < atoms; ++r)
    for (size_t e = 0; e < atoms; ++e)
      for (int64_t x = -reach[0] - 1; x <= reach[0] + 1; ++x)
        for (int64_t y = -reach[1] - 1; y <= reach[1] + 1; ++y)
          for (int64_t z = -reach[2] - 1; z <= reach[2] + 1; ++z) {
            std::array<int64_t, 3> shift = {x, y, z};
            if ((!s.periodic[0] && x) || (!s.periodic[1] && y) || (!s.periodic[2] && z)) continue;
            if (r == e && !x && !y && !z) continue;
            double squared = 0;
            for (int i = 0; i < 3; ++i) shift[i] += away[3 * r + i] - away[3 * e + i];
            for (int k = 0; k < 3; ++k) {
              double d = s.positions[3 * e + k] - s.positions[3 * r + k];
              for (int i = 0; i < 3; ++i) d += double(shift[i]) * c[3 * i + k];
              squared += d * d;
            }
            if (squared > cutoff * cutoff) continue;
            s.senders.push_back(int64_t(e));
            s.receivers.push_back(int64_t(r));
            s.shifts.insert(s.shifts.end(), shift.begin(), shift.end());
          }
}

template <typename T>
at::Tensor tensor(std::vector<T>& numbers, std::vector<int64_t> shape) {
  return at::from_blob(numbers.data(), shape, std::is_same<T, double>::value ? at::kDouble : at::kLong);
}

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: evaluate model.pt2 structure.xyz");
  // One thread may run it: no stream of a GPU is asked for.
  torch::inductor::AOTIModelPackageLoader model(arguments[1], "model", true);
  auto facts = model.get_metadata();
  if (facts["format"] != "chemscale-package-1") throw std::runtime_error("no package of chemscale");
  if (facts["device"] != "cpu") throw std::runtime_error("compiled for " + facts["device"]);
  Structure s = read(arguments[2]);
  std::istringstream list(facts["elements"]);
  std::set<int64_t> known;
  for (int64_t z; list >> z;) known.insert(z);
  for (int64_t z : s.numbers)
    if (!known.count(z)) throw std::runtime_error("Z = " + std::to_string(z) + " is not known to this potential");
  const bool crystal = s.periodic[0] || s.periodic[1] || s.periodic[2];
  if (crystal && facts["molecules_only"] == "1") throw std::runtime_error("this potential is for molecules alone");
  if (s.charge && facts["knows_charge"] == "0") throw std::runtime_error("this potential knows no charge");
  find_neighbours(s, std::stod(facts["cutoff"]));

  const int64_t atoms = int64_t(s.numbers.size()), edges = int64_t(s.senders.size());
  std::vector<int64_t> charge = {s.charge}, spin = {s.spin};
  std::vector<at::Tensor> found = model.run(
      {tensor(s.numbers, {atoms}), tensor(s.positions, {atoms, 3}), tensor(s.cell, {3, 3}), tensor(s.senders, {edges}),
       tensor(s.receivers, {edges}), tensor(s.shifts, {edges, 3}), tensor(charge, {1}), tensor(spin, {1})});
  // energy, energies of atoms, forces, virial, stress: float64
  const at::Tensor energy = found[0].contiguous(), forces = found[2].contiguous(), stress = found[4].contiguous();
  std::printf("energy %.12g eV\n", energy.data_ptr<double>()[0]);
  for (int64_t a = 0; a < atoms; ++a) {
    const double* f = forces.data_ptr<double>() + 3 * a;
    std::printf("force %.12g %.12g %.12g eV/Å\n", f[0], f[1], f[2]);
  }
  if (s.periodic[0] && s.periodic[1] && s.periodic[2])
    for (int i = 0; i < 3; ++i) {
      const double* row = stress.data_ptr<double>() + 3 * i;
      std::printf("stress %.12g %.12g %.12g eV/Å³\n", row[0], row[1], row[2]);
    }
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
