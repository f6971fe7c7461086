#!/usr/bin/env python3
"""Reference cases of the profitability and of two replays, in exact fractions, apart from the C code.

    python3 make_cases.py <folder of the data> > cases.inc

cases:   mining and serving of one device.
replays: 10,000 S21 and 5,000 S19 XP at HB_WEST, PUE 1.05, pool fee 1 %, interval by interval (15 min), BTC price and
         difficulty of the day. A class changes its use when the gain is above hysteresis * |net of the present use|.
"""
import csv
import sys
from fractions import Fraction as F

data = sys.argv[1]
SUBSIDY = F(25, 4)  # both replays lie between the halvings of 2020 and 2024


def btc_day(ths, difficulty, reward, pool_fee):
    return ths * 10**12 * 86400 / (difficulty * 2**32) * reward * (1 - pool_fee)


def energy(watts, pue, price):
    return watts / 10**6 * pue * price


print("/* Written by make_cases.py; do not edit. */")
print("static const struct mining_case mining_cases[] = {")
for name, ths, watts, wear in (("S21", F(200), F(3500), F(25, 1000)), ("S19XP", F(140), F(3010), F(15, 1000)),
                               ("M60S", F(186), F(3422), F(22, 1000)), ("4090", F(1, 100), F(420), F(6, 1000))):
    for usd, diff, subsidy, fees, fee, price, pue in (
            (F(60000), F(90 * 10**12), F(25, 8), F(1, 10), F(1, 100), F(40), F(21, 20)),
            (F(48720), F(21434395961349), SUBSIDY, F(4, 5), F(0), F(9000), F(1)),
            (F(29000), F(53 * 10**12), SUBSIDY, F(1, 5), F(2, 100), F(-30), F(13, 10))):
        btc = btc_day(ths, diff, subsidy + fees, fee)
        revenue = btc / 24 * usd
        cost = energy(watts, pue, price)
        net = revenue - cost - wear
        gain, loss = revenue + max(0, -cost), wear + max(0, cost)
        breakeven = (revenue - wear) / (watts / 10**6 * pue)
        row = (usd, diff, subsidy, fees, fee, price, pue, btc, revenue, cost, net, 100 * gain / (gain + loss), breakeven)
        print('\t{ "%s", %s },' % (name, ", ".join("%.17g" % float(x) for x in row)))
print("};")
print("static const struct serving_case serving_cases[] = {")
for name, idle, full, wear in (("H100", F(75), F(700), F(70, 1000)), ("L40S", F(36), F(350), F(22, 1000))):
    for spot, contract, use, price, pue in ((F(249, 100), F(0), F(7, 10), F(45), F(13, 10)),
                                            (F(0), F(2), F(1, 4), F(9000), F(6, 5)), (F(1, 10), F(0), F(1), F(300), F(3, 2))):
        revenue = spot * use + contract
        cost = energy(idle + (full - idle) * use, pue, price)
        row = (spot, contract, use, price, pue, revenue, cost, revenue - cost - wear * use)
        print('\t{ "%s", %s },' % (name, ", ".join("%.17g" % float(x) for x in row)))
print("};")

days = {r["date_utc"]: r for r in csv.DictReader(open(data + "/btc_network_daily.csv"))}
FLEET = (("S21", 10000, F(200), F(3500), F(85), F(25, 1000)), ("S19XP", 5000, F(140), F(3010), F(80), F(15, 1000)))
print("static const struct replay_case replay_cases[] = {")
for year, first, last in (("2021", "2021-02-01", "2021-03-01"), ("2023", "2023-08-01", "2023-09-01")):
    for hysteresis in (F(0), F(1, 10)):
        mining = [True] * len(FLEET)
        mined, switches, revenue_all, net_all = [0] * len(FLEET), [0] * len(FLEET), F(0), F(0)
        n = 0
        for r in csv.DictReader(open(data + "/ercot_rt_spp_15min_%s.csv" % year)):
            day = r["interval_start_utc"][:10]
            if not (first <= day < last) or r["HB_WEST"] == "":
                continue
            n += 1
            d, price = days[day], F(r["HB_WEST"])
            reward = SUBSIDY + F(d["fees_btc"]) / F(d["blocks_implied"])
            for i, (_, count, ths, watts, idle, wear) in enumerate(FLEET):
                revenue = btc_day(ths, F(d["difficulty"]), reward, F(1, 100)) / 24 * F(d["price_usd"])
                mine = revenue - energy(watts, F(21, 20), price) - wear
                rest = -energy(idle, F(21, 20), price)
                now, other = (mine, rest) if mining[i] else (rest, mine)
                if other - now > hysteresis * abs(now):
                    mining[i] = not mining[i]
                    switches[i] += 1
                if mining[i]:
                    mined[i] += 1
                    revenue_all += revenue * count / 4
                net_all += (mine if mining[i] else rest) * count / 4
        print('\t{ "%s", "%s", "%s", %.17g, %d, { %d, %d }, { %d, %d }, %.17g, %.17g },' % (
            year, first, last, float(hysteresis), n, *mined, *switches, float(revenue_all), float(net_all)))
print("};")
