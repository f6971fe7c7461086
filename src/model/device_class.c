#include "model/device_class.h"

#include "base/panic.h"

/*
 * ASIC rows: hash rate and watts are the makers' nominal figures. Idle: control board, fans and leakage with the hash
 * boards off. GPU rows: board watts at full load, idle with weights resident and clocks down; SHA-256d rates are those
 * of an ALU-bound kernel (32-bit integer lanes x boost clock / about 2,700 operations a double hash), thousandths of a
 * TH/s: a GPU mines for cents a day, and the table says so. Memory-bound figures are the makers'.
 *
 * Wear: (price - resale) / hours of life, with street prices and four years for GPUs and ASICs, six for CPU nodes; the
 * part that working (not owning) wears, one tenth for solid-state devices, one quarter for ASICs (fans, boards).
 */
/* clang-format off */
static const struct device_class row[] = {
	/*                                                        serve    fill   idle   safe  off */
	{ "H100",  "NVIDIA H100 SXM 80GB",   DEVICE_GPU,  { 700,  480,  75,  70, 0 }, 80,  0.0045, 989, 0.070, 2.49, 0,
		{ 50, 5, 5, 20, 30000 } },
	{ "H200",  "NVIDIA H200 SXM 141GB",  DEVICE_GPU,  { 700,  480,  78,  72, 0 }, 141, 0.0045, 989, 0.080, 3.10, 0,
		{ 50, 5, 5, 20, 30000 } },
	{ "A100",  "NVIDIA A100 SXM 40GB",   DEVICE_GPU,  { 400,  330,  55,  50, 0 }, 40,  0.0028, 312, 0.030, 1.29, 0,
		{ 50, 5, 5, 20, 30000 } },
	{ "L40S",  "NVIDIA L40S 48GB",       DEVICE_GPU,  { 350,  330,  36,  32, 0 }, 48,  0.0085, 362, 0.022, 0.99, 0,
		{ 50, 5, 5, 20, 30000 } },
	{ "4090",  "NVIDIA GeForce RTX 4090 24GB", DEVICE_GPU, { 450, 420, 22, 18, 0 }, 24, 0.0100, 165, 0.006, 0.39, 0,
		{ 50, 5, 5, 20, 30000 } },
	{ "S21XP", "Antminer S21 XP",        DEVICE_ASIC, { 3645, 3645, 90, 40, 0 }, 0, 270, 0, 0.040, 0, 0,
		{ 60000, 60000, 2000, 2000, 5000 } },
	{ "S21",   "Antminer S21",           DEVICE_ASIC, { 3500, 3500, 85, 40, 0 }, 0, 200, 0, 0.025, 0, 0,
		{ 60000, 60000, 2000, 2000, 5000 } },
	{ "S19XP", "Antminer S19 XP",        DEVICE_ASIC, { 3010, 3010, 80, 40, 0 }, 0, 140, 0, 0.015, 0, 0,
		{ 90000, 90000, 2000, 2000, 5000 } },
	{ "S19JPRO", "Antminer S19j Pro",    DEVICE_ASIC, { 3068, 3068, 80, 40, 0 }, 0, 104, 0, 0.008, 0, 0,
		{ 90000, 90000, 2000, 2000, 5000 } },
	{ "M60S",  "Whatsminer M60S",        DEVICE_ASIC, { 3422, 3422, 60, 30, 0 }, 0, 186, 0, 0.022, 0, 0,
		{ 45000, 45000, 1000, 1000, 5000 } },
	{ "M50S",  "Whatsminer M50S",        DEVICE_ASIC, { 3276, 3276, 60, 30, 0 }, 0, 126, 0, 0.010, 0, 0,
		{ 45000, 45000, 1000, 1000, 5000 } },
	{ "A1566", "Avalon A1566",           DEVICE_ASIC, { 3420, 3420, 70, 35, 0 }, 0, 185, 0, 0.022, 0, 0,
		{ 60000, 60000, 3000, 3000, 5000 } },
	{ "CPU64", "64-core server node",    DEVICE_CPU,  { 450,  450, 120, 110, 0 }, 256, 0.0000015, 4, 0.010, 0.80, 64,
		{ 10, 5, 1, 5, 60000 } },
	{ "CPU2",  "2-core node",            DEVICE_CPU,  { 30,    30,   8,   7, 0 }, 8, 0.00000005, 0.1, 0.001, 0.04, 2,
		{ 10, 5, 1, 5, 60000 } },
};
/* clang-format on */

static const char *const kind_name[DEVICE_KIND_END] = { NULL, "gpu", "asic", "cpu" };
static const char *const mode_name[DEVICE_MODE_END] = { "serve", "fill", "idle", "safe", "off" };

_Static_assert(sizeof(row) / sizeof(row[0]) <= DEVICE_CLASS_MAX, "tables indexed by class have this many places");

size_t device_class_count(void)
{
	return sizeof(row) / sizeof(row[0]);
}

const struct device_class *device_class_at(size_t i)
{
	return i < device_class_count() ? &row[i] : NULL;
}

const struct device_class *device_class_find(struct str name)
{
	for (size_t i = 0; i < device_class_count(); i++) {
		if (str_ieqz(name, row[i].name))
			return &row[i];
	}
	return NULL;
}

size_t device_class_index(const struct device_class *c)
{
	must(c >= row && c < row + device_class_count());
	return (size_t)(c - row);
}

static const char *const power_name[DEVICE_POWER_END] = { "normal", "low", "high" };

const char *device_power_name(enum device_power p)
{
	return (unsigned)p < DEVICE_POWER_END ? power_name[p] : NULL;
}

int device_power_parse(struct str s, enum device_power *ret)
{
	for (int i = 0; i < DEVICE_POWER_END; i++) {
		if (str_eqz(s, power_name[i])) {
			*ret = (enum device_power)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

/* Profiles of public firmware, `steps` from the nominal one: shares of the nominal watts and hashes. */
static double profile_watts(double steps)
{
	double f = (545 + 25 * steps) / 545, v = (13.4 + 0.1 * steps) / 13.4;
	return f * v * v;
}

static double profile_hashes(double steps)
{
	return (545 + 25 * steps) / 545;
}

double device_class_ths_at(const struct device_class *c, double watts)
{
	double low = -15, high = 6, share = watts / c->power_w[DEVICE_FILL];
	if (c->kind != DEVICE_ASIC)
		return 0;
	for (int i = 0; i < 40; i++) {
		double middle = (low + high) / 2;
		if (profile_watts(middle) < share)
			low = middle;
		else
			high = middle;
	}
	return c->fill_ths * profile_hashes(low);
}

const char *device_class_power_of(const struct device_class *c, double target_w)
{
	double nominal_w = c->power_w[DEVICE_FILL];
	enum device_power p = target_w <= 0 || target_w == nominal_w ? DEVICE_POWER_NORMAL
						  : target_w < nominal_w                 ? DEVICE_POWER_LOW
																 : DEVICE_POWER_HIGH;
	return power_name[p];
}

int device_class_power(const struct device_class *c, enum device_power p, double *ret_w, double *ret_ths)
{
	static const double steps[DEVICE_POWER_END] = { 0, -6, 2 };
	if ((unsigned)p >= DEVICE_POWER_END || c->fill_ths <= 0 || (p != DEVICE_POWER_NORMAL && c->kind != DEVICE_ASIC))
		return HCP_ENOTFOUND;
	*ret_w = c->power_w[DEVICE_FILL] * profile_watts(steps[p]);
	*ret_ths = c->fill_ths * profile_hashes(steps[p]);
	return 0;
}

double device_class_fill_mhs(const struct device_class *c)
{
	return c->fill_ths * 1e6;
}

double device_class_j_per_th(const struct device_class *c)
{
	return c->fill_ths > 0 ? c->power_w[DEVICE_FILL] / c->fill_ths : 0;
}

const char *device_kind_name(enum device_kind k)
{
	return (unsigned)k < DEVICE_KIND_END ? kind_name[k] : NULL;
}

const char *device_mode_name(enum device_mode m)
{
	return (unsigned)m < DEVICE_MODE_END ? mode_name[m] : NULL;
}

int device_kind_parse(struct str s, enum device_kind *ret)
{
	for (unsigned i = 1; i < DEVICE_KIND_END; i++) {
		if (str_eqz(s, kind_name[i])) {
			*ret = (enum device_kind)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

int device_mode_parse(struct str s, enum device_mode *ret)
{
	for (unsigned i = 0; i < DEVICE_MODE_END; i++) {
		if (str_eqz(s, mode_name[i])) {
			*ret = (enum device_mode)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}
