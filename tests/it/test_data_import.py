"""hcp data import: published files, made here as their publishers make them, against zoneinfo and the reference tables."""
import csv
import io
import json
import random
import subprocess
import zipfile
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

CENTRAL = ZoneInfo("America/Chicago")
RT_HEAD = "Delivery Date,Delivery Hour,Delivery Interval,Repeated Hour Flag,Settlement Point Name,Settlement Point Type," \
          "Settlement Point Price"
DAM_HEAD = "Delivery Date,Hour Ending,Repeated Hour Flag,Settlement Point,Settlement Point Price"
SPRING, AUTUMN = datetime(2024, 3, 10), datetime(2024, 11, 3)


@pytest.fixture
def run(program, tmp_path):
    """run(kind, {name: bytes}, …) gives (process, {table's name: rows as dicts})."""
    def go(kind, files, *args, out="out"):
        paths = []
        for name, data in files.items():
            path = tmp_path / name
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
            paths.append(path)
        done = subprocess.run([program("hcp"), "data", "import", "--kind", kind, *paths, "--out", tmp_path / out, "-o", "json",
                               *args], capture_output=True, text=True, timeout=60)
        tables = {p.name: list(csv.DictReader(p.open())) for p in sorted((tmp_path / out).glob("*.csv"))} \
            if (tmp_path / out).is_dir() else {}
        return done, tables
    return go


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(name.replace("__", "."), data)
    return out.getvalue()


def day_utc(day, step_s):
    """The starts of all intervals of a Central day, in UTC."""
    at = day.replace(tzinfo=CENTRAL).astimezone(timezone.utc)
    end = (day + timedelta(days=1)).replace(tzinfo=CENTRAL).astimezone(timezone.utc)
    while at < end:
        yield at
        at += timedelta(seconds=step_s)


def stamp(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def rt_row(at, point="HB_WEST", kind="HU", price=1.0):
    c = at.astimezone(CENTRAL)
    return f"{c:%m/%d/%Y},{c.hour + 1},{c.minute // 15 + 1},{'Y' if c.fold else 'N'},{point},{kind},{price}"


def rt_file(rows):
    return "\n".join([RT_HEAD, *rows]) + "\n"


@pytest.mark.parametrize("day,intervals", [(SPRING, 92), (AUTUMN, 100), (datetime(2024, 7, 1), 96)])
def test_real_time_days(run, day, intervals):
    starts = list(day_utc(day, 900))
    assert len(starts) == intervals
    rows = [rt_row(a, p, "HU", 10 + i / 4) for i, a in enumerate(starts) for p in ("HB_NORTH", "HB_WEST", "RN_ELSEWHERE")]
    random.Random(1).shuffle(rows)
    done, tables = run("ercot-rt", {"rt.zip": zipped(rpt__csv=rt_file(rows))})
    assert done.returncode == 0, done.stderr
    table = tables["ercot_rt_spp_15min_2024.csv"]
    assert list(table[0]) == ["interval_start_utc", "HB_NORTH", "HB_HOUSTON", "HB_SOUTH", "HB_WEST", "HB_HUBAVG", "LZ_WEST_MID"]
    assert [r["interval_start_utc"] for r in table] == [stamp(a) for a in starts]
    assert [float(r["HB_WEST"]) for r in table] == [10 + i / 4 for i in range(intervals)]
    assert all(r["HB_SOUTH"] == "" for r in table)
    told = json.loads(done.stdout)[0]
    assert (told["rows"], told["missing"], told["empty_fields"]) == (intervals, 0, 4 * intervals)


def test_every_change_of_clocks_agrees_with_zoneinfo(run):
    """All quarter-hours of the days of a change 2007 to 2037, and some of a thousand other days."""
    pick, days = random.Random(7), set()
    for year in range(2007, 2038):
        for month, nth in ((3, 2), (11, 1)):
            first = datetime(year, month, 1)
            days.add(first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1)))
    starts = {a for d in days for a in day_utc(d, 900)}
    starts |= {datetime(2007, 3, 12, tzinfo=timezone.utc) + timedelta(minutes=15 * pick.randrange(31 * 365 * 96)) for _ in range(1000)}
    done, tables = run("ercot-rt", {"rt.csv": rt_file([rt_row(a) for a in starts])})
    assert done.returncode == 0, done.stderr
    got = [r["interval_start_utc"] for t in tables.values() for r in t]
    assert sorted(got) == sorted(map(stamp, starts))


@pytest.mark.parametrize("row,words", [
    ("03/10/2024,3,1,N,HB_WEST,HU,1", "does not exist"), ("07/01/2024,2,1,Y,HB_WEST,HU,1", "comes only once"),
    ("02/30/2024,2,1,N,HB_WEST,HU,1", "there is no 2024-02-30"), ("07/01/2024,25,1,N,HB_WEST,HU,1", "1 to 24"),
    ("07/01/2024,0,1,N,HB_WEST,HU,1", "1 to 24"), ("07/01/2024,1,5,N,HB_WEST,HU,1", "1 to 4"),
    ("07/01/2024,1,1,X,HB_WEST,HU,1", "Y or N"), ("07/01/2024,1,1,N,HB_WEST,HU,nan", "not a number"),
    ("07/01/2006,1,1,N,HB_WEST,HU,1", "2007"), ("yesterday,1,1,N,HB_WEST,HU,1", "12/31/2024"),
    ("07/01/2024,1,1", "fields"),
])
def test_a_wrong_row_is_named_and_nothing_is_written(run, row, words):
    done, tables = run("ercot-rt", {"bad.csv": rt_file([rt_row(datetime(2024, 7, 1, 12, tzinfo=timezone.utc)), row])})
    assert done.returncode == 1 and not tables
    assert "bad.csv" in done.stderr and "line 3" in done.stderr and words in done.stderr, done.stderr


def test_zones_means_repeats_changes_and_gaps(run):
    at = [datetime(2023, 12, 31, 6, tzinfo=timezone.utc) + timedelta(minutes=15 * i) for i in range(100)]
    rows = [rt_row(a, "LZ_WEST", k, p) for a in at[:2] for k, p in (("LZ", 14.9), ("LZEW", 15.0))]
    rows += [rt_row(at[5], "HB_WEST", "HU", 3), rt_row(at[97], "LZ_WEST", "LZ", 4)]
    again = [rt_row(at[5], "HB_WEST", "HU", 3), rt_row(at[5], "HB_WEST", "HU", 7)]
    done, tables = run("ercot-rt", {"a.csv": rt_file(rows), "b.csv": rt_file(again)})
    assert done.returncode == 0, done.stderr
    assert sorted(tables) == ["ercot_rt_spp_15min_2023.csv", "ercot_rt_spp_15min_2024.csv"]
    old = {r["interval_start_utc"]: r for r in tables["ercot_rt_spp_15min_2023.csv"]}
    assert old[stamp(at[0])]["LZ_WEST_MID"] == "14.95" and old[stamp(at[5])]["HB_WEST"] == "7"
    new = tables["ercot_rt_spp_15min_2024.csv"]
    assert [(r["interval_start_utc"], r["LZ_WEST_MID"]) for r in new] == [(stamp(at[97]), "")], "half a mean is none"
    assert "given twice: 2, of those with another value: 1" in done.stderr
    assert f"nothing from {stamp(at[2])} to {stamp(at[4])}" in done.stderr
    assert json.loads(done.stdout)[0]["missing"] == 3
    chosen, tables = run("ercot-rt", {"a.csv": rt_file(rows)}, "--points", "LZ_WEST, LZ_WEST_EW", out="chosen")
    assert chosen.returncode == 0, chosen.stderr
    first = tables["ercot_rt_spp_15min_2023.csv"][0]
    assert (first["LZ_WEST"], first["LZ_WEST_EW"]) == ("14.9", "15")


@pytest.mark.parametrize("day,hours", [(SPRING, 23), (AUTUMN, 25)])
def test_day_ahead_and_ancillary_services(run, day, hours):
    starts = list(day_utc(day, 3600))
    assert len(starts) == hours
    local = [a.astimezone(CENTRAL) for a in starts]
    dam = [f"{c:%m/%d/%Y},{c.hour + 1:02d}:00,{'Y' if c.fold else 'N'},LZ_HOUSTON,{i}.5" for i, c in enumerate(local)]
    done, tables = run("ercot-dam", {"dam.zip": zipped(inner__zip=zipped(dam__csv="\r\n".join([DAM_HEAD, *dam])))})
    assert done.returncode == 0, done.stderr
    table = tables["ercot_dam_spp_hourly_2024.csv"]
    assert list(table[0]) == ["interval_start_utc", "HB_NORTH", "HB_HOUSTON", "HB_SOUTH", "HB_WEST", "HB_HUBAVG", "LZ_NORTH",
                              "LZ_HOUSTON", "LZ_SOUTH", "LZ_WEST"]
    assert [(r["interval_start_utc"], float(r["LZ_HOUSTON"])) for r in table] == \
        [(stamp(a), i + 0.5) for i, a in enumerate(starts)]
    wide = ["Delivery Date,Hour Ending,Repeated Hour Flag,REGDN ,REGUP ,RRS ,NSPIN,ECRS"]
    wide += [f"{c:%m/%d/%Y},{c.hour + 1:02d}:00,{'Y' if c.fold else 'N'},1,2,{i},," for i, c in enumerate(local)]
    rows = ['"DeliveryDate","HourEnding","AncillaryType","MCPC","DSTFlag"']
    rows += [f'"{c:%m/%d/%Y}","{c.hour + 1:02d}:00","ECRS","{i}.25","{"Y" if c.fold else "N"}"' for i, c in enumerate(local)]
    done, tables = run("ercot-as", {"wide.csv": "\n".join(wide), "rows.csv": "\n".join(rows)}, out="as")
    assert done.returncode == 0, done.stderr
    table = tables["ercot_as_mcpc_hourly_2024.csv"]
    assert list(table[0]) == ["interval_start_utc", "REGUP", "REGDN", "RRS", "NSPIN", "ECRS"]
    assert [(r["interval_start_utc"], r["REGUP"], r["REGDN"], r["RRS"], r["NSPIN"], r["ECRS"]) for r in table] == \
        [(stamp(a), "2", "1", str(i), "", f"{i}.25") for i, a in enumerate(starts)]


def test_load_forecast_takes_what_was_known_the_day_before(run):
    def forecast(published, value):
        rows = ["DeliveryDate,HourEnding,Coast,SystemTotal,Model,InUseFlag,DSTFlag"]
        for d in range(1, 4):
            day = published + timedelta(days=d)
            for h in range(24):
                rows += [f"{day:%m/%d/%Y},{h + 1:02d}:00,1,{value + h},E,Y,N", f"{day:%m/%d/%Y},{h + 1:02d}:00,1,9,M,N,N"]
        return "\n".join(rows)
    first, second = datetime(2024, 1, 1), datetime(2024, 1, 2)
    name = "cdr.00012312.0000000000000000.{:%Y%m%d}.093000123.LFCWEATHERNP3565.csv"
    done, tables = run("ercot-load-forecast", {name.format(first): forecast(first, 1000), name.format(second): forecast(second, 2000)})
    assert done.returncode == 0, done.stderr
    table = tables["ercot_da_load_forecast_hourly_2024.csv"]
    assert list(table[0]) == ["interval_start_utc", "da_load_forecast_mw"] and len(table) == 48
    assert (table[0]["interval_start_utc"], table[0]["da_load_forecast_mw"]) == ("2024-01-02T06:00:00Z", "1000")
    assert (table[24]["interval_start_utc"], table[24]["da_load_forecast_mw"]) == ("2024-01-03T06:00:00Z", "2000")


def kline(at_ms, minutes, o, h, lo, c, v, unit=1):
    return f"{at_ms * unit},{o},{h},{lo},{c},{v},{(at_ms + minutes * 60000) * unit - 1},0,1,0,0,0"


def test_klines_in_ms_and_us_and_of_minutes(run):
    hour, start = 3600000, 1735682400000  # 2024-12-31T22:00:00Z
    ms = "\n".join([kline(start, 60, 100, 120, 90, 110, "1.5"), kline(start + hour, 60, 110, 130, 100, 105, 2)])
    us = "open_time,open,high,low,close,volume,close_time,q,n,tb,tq,i\n" + "\n".join(
        kline(start + 2 * hour + m * 900000, 15, 105 + m, 140 + m, 99 - m, 106 + m, "0.1", 1000) for m in range(4)) + "\n" + \
        "\n".join(kline(start + 4 * hour + m * 900000, 15, 1, 1, 1, 1, 1, 1000) for m in range(3))
    done, tables = run("btc-ohlcv", {"BTCUSDT-1h-2024-12.zip": zipped(a__csv=ms), "BTCUSDT-15m-2025-01.csv": us})
    assert done.returncode == 0, done.stderr
    assert tables["btc_usdt_hourly.csv"] == [dict(zip(("hour_start_utc", "open", "high", "low", "close", "volume_btc"), r)) for r in (
        ("2024-12-31T22:00:00Z", "100", "120", "90", "110", "1.5"), ("2024-12-31T23:00:00Z", "110", "130", "100", "105", "2"),
        ("2025-01-01T00:00:00Z", "105", "143", "96", "109", "0.4"))]
    assert "1 hours are not whole" in done.stderr
    bad, tables = run("btc-ohlcv", {"bad.csv": kline(start, 60, 100, 90, 95, 110, 1)}, out="bad")
    assert bad.returncode == 1 and "line 1" in bad.stderr and not tables


def test_network(run):
    text = "time,AdrActCnt,BlkCnt,DiffMean,FeeTotNtv,IssTotNtv,PriceUSD\n" \
           "2021-01-01,1,149,18599593048299,48.942701,931.25,28982.56\n2021-01-02,1,151,18599593048299,79.699067,943.75,\n"
    done, tables = run("btc-network", {"btc.csv": text})
    assert done.returncode == 0, done.stderr
    assert [list(r.values()) for r in tables["btc_network_daily.csv"]] == [
        ["2021-01-01", "18599593048299", "931.25", "48.942701", "149", "28982.56", "0.00711501", "206.21"],
        ["2021-01-02", "18599593048299", "943.75", "79.699067", "151", "", "0.0073306", ""]]
    done, tables = run("btc-network", {"d.csv": 'Timestamp,difficulty\n2021-01-03 00:00:00,18599593048299.1\n'}, out="b")
    assert done.returncode == 0 and list(tables["btc_network_daily.csv"][0].values())[:3] == ["2021-01-03", "18599593048299.1", ""]


def test_refusals(run, program, tmp_path):
    good = rt_file([rt_row(datetime(2024, 7, 1, 12, tzinfo=timezone.utc))])
    for files, words in (({"a.csv": "x,y\n1,2\n"}, "no column"), ({"a.xlsx": b"PK\3\4 spreadsheet"}, "save each of its sheets"),
                         ({"a.zip": zipped(r__csv=good)[:-30]}, "zip"), ({"a.csv": ""}, "a.csv"),
                         ({"a.zip": zipped(a__zip=zipped(b__zip=zipped(c__csv=good)))}, "deep"),
                         ({"a.zip": zipped(readme__txt="hello")}, "no value")):
        done, tables = run("ercot-rt", files)
        assert done.returncode == 1 and words in done.stderr and not tables, (files, done.stderr)
    damaged = bytearray(zipped(r__csv=good * 50))
    damaged[80] ^= 0x55
    done, tables = run("ercot-rt", {"a.zip": bytes(damaged)})
    assert done.returncode == 1 and not tables
    done, _ = run("ercot-as", {"a.csv": good}, "--points", "HB_WEST")
    assert done.returncode == 2 and "cannot be chosen" in done.stderr
    done, _ = run("nothing", {"a.csv": good})
    assert done.returncode == 2
    # The old table stays until the new one is whole.
    first, tables = run("ercot-rt", {"a.csv": good})
    before = (tmp_path / "out/ercot_rt_spp_15min_2024.csv").read_text()
    second, _ = run("ercot-rt", {"a.csv": good, "b.csv": rt_file(["07/01/2024,99,1,N,HB_WEST,HU,1"])})
    assert second.returncode == 1 and (tmp_path / "out/ercot_rt_spp_15min_2024.csv").read_text() == before


@pytest.mark.parametrize("year", [2021, 2024])
def test_the_reference_table_comes_back(run, data, year):
    """A year of real prices, published as ERCOT does, gives the table that the platform replays; and hcp-sim reads it."""
    with (data / f"ercot_rt_spp_15min_{year}.csv").open() as f:
        wanted = list(csv.DictReader(f))
    rows = []
    for r in wanted:
        at = datetime.fromisoformat(r["interval_start_utc"].replace("Z", "+00:00"))
        for point, price in list(r.items())[1:]:
            if price and point == "LZ_WEST_MID":
                rows += [rt_row(at, "LZ_WEST", k, price) for k in ("LZ", "LZEW")]
            elif price:
                rows.append(rt_row(at, point, "HU", price))
    done, tables = run("ercot-rt", {"year.zip": zipped(RTMLZHBSPP__csv=rt_file(rows))})
    assert done.returncode == 0, done.stderr
    number = lambda s: float(s) if s else None
    got = tables[f"ercot_rt_spp_15min_{year}.csv"]
    assert [[r["interval_start_utc"], *map(number, list(r.values())[1:])] for r in got] == \
        [[r["interval_start_utc"], *map(number, list(r.values())[1:])] for r in wanted]
